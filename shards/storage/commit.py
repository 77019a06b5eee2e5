"""Atomic files on this machine's file systems: a file appears whole or not at all. Used by FolderStore."""

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
_LINKS_UNSUPPORTED = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def staging_path(folder: Path, name: str) -> Path:
    """Return an unused path, on the file system of `folder`, for a file that will be published as `name`."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    return staging / f"{name}.{os.getpid()}.{secrets.token_hex(4)}"


def link(staged: Path, final: Path) -> None:
    """Give a staged file its final name as a second name. Raises FileExistsError if that name is taken."""
    _sync(staged)
    try:
        os.link(staged, final)
    except OSError as error:
        if error.errno in _LINKS_UNSUPPORTED:
            raise ShardError(
                f"{final.parent}: its file system has no hard links, which a safe commit needs; give another folder, "
                "or the URL of the bucket behind it"
            ) from None
        raise
    _sync(final.parent)


def replace_bytes(final: Path, data: bytes) -> None:
    """Write a file that may change, so that a reader sees the old or the new version, never a part."""
    staged = staging_path(final.parent, final.name)
    try:
        staged.write_bytes(data)
        staged.replace(final)
    finally:
        staged.unlink(missing_ok=True)


def sweep_staging(folder: Path) -> None:
    """Remove the staged files of dead writers. Files of the last day may belong to a live writer."""
    for path in (folder / STAGING).glob("*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
    with suppress(OSError):  # absent, or in use
        (folder / STAGING).rmdir()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system that holds `folder`, which need not exist yet."""
    for path in (folder, *folder.absolute().parents):
        if path.exists():
            return shutil.disk_usage(path).free
    raise ShardError(f"{folder}: neither it nor a parent folder exists")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
