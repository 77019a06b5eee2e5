"""Files of this machine's file systems that appear whole or not at all: the local half of `shards.storage.store`."""

import errno
import hashlib
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from shards.errors import ShardError

STAGING = ".staging"
_STALE_SECONDS = 24 * 3600
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def staging_path(folder: Path, name: str) -> Path:
    """A path, unused so far, on the same file system as `folder`, for a file that will be published as `name`."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    return staging / f"{name}.{os.getpid()}.{secrets.token_hex(4)}"


def link(staged: Path, final: Path) -> None:
    """Give a staged file its final name as well. Raises FileExistsError where that is taken, whoever comes first."""
    _sync(staged)
    try:
        os.link(staged, final)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise ShardError(
                f"{final.parent}: its file system has no hard links, which make a commit safe; give another folder, or "
                "the URL of the bucket behind it"
            ) from None
        raise
    _sync(final.parent)


def replace_text(final: Path, text: str) -> None:
    """Write a file that may change (a card, a report), so that a reader sees the old one or the new one, whole."""
    replace_bytes(final, text.encode())


def replace_bytes(final: Path, data: bytes) -> None:
    """The same for bytes."""
    staged = staging_path(final.parent, final.name)
    try:
        staged.write_bytes(data)
        staged.replace(final)
    finally:
        staged.unlink(missing_ok=True)


def sweep_staging(folder: Path, older_than_seconds: float = _STALE_SECONDS) -> int:
    """Remove what dead writers left in the staging folder; young files may belong to a live one. Returns the count."""
    removed = 0
    for path in (folder / STAGING).glob("*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > older_than_seconds:
                path.unlink()
                removed += 1
    with suppress(OSError):  # not there, or somebody is writing
        (folder / STAGING).rmdir()
    return removed


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(folder: Path) -> int:
    """Bytes free on the file system that holds `folder`, or that will hold it once it is made."""
    for place in (folder, *folder.absolute().parents):
        if place.exists():
            return shutil.disk_usage(place).free
    raise ShardError(f"{folder} is on no file system")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
