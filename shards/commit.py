"""Publishing files so that each appears whole or not at all, and never twice.

A shard is three files. The tar and its index are published first, the stats file last: a unit is done when its stats
file exists. Publishing is a hard link from a staging folder on the same file system, which fails if the name is taken,
so of two writers one wins and the other sees that it lost.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from shards.errors import CommitConflict, ShardError

STAGING = ".staging"
_STALE_SECONDS = 24 * 3600


def staging_path(folder: Path, name: str) -> Path:
    """A path, unused so far, on the same file system as `folder`, for a file that will be published as `name`."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    return staging / f"{name}.{os.getpid()}.{secrets.token_hex(4)}"


def publish(staged: Path, final: Path) -> None:
    """Give `staged` its final name, for good, and remove the staged name.

    An equal file under that name counts as success: it is this very publication, whose answer was lost, or another
    worker's of the same unit. Raises CommitConflict where the name holds other bytes.
    """
    _sync(staged)
    try:
        os.link(staged, final)
    except FileExistsError:
        if sha256_of(staged) != sha256_of(final):
            raise CommitConflict(
                f"{final} exists with other bytes than the ones just made; if its unit has no stats file it was never "
                "finished: move it away and run the same command again"
            ) from None
    staged.unlink()
    _sync(final.parent)


def publish_json(final: Path, content: Mapping[str, Any]) -> bool:
    """Write `content` and publish it as `final`; False if another writer has published that name before."""
    staged = staging_path(final.parent, final.name)
    try:
        staged.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        publish(staged, final)
    except CommitConflict:
        return False
    finally:  # also where the disk is full
        staged.unlink(missing_ok=True)
    return True


def replace_text(final: Path, text: str) -> None:
    """Write a file that may change (a card, a report), so that a reader sees the old one or the new one, whole."""
    staged = staging_path(final.parent, final.name)
    try:
        staged.write_text(text, encoding="utf-8")
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
