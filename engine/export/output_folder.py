"""The output folder of an export, which appears complete or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import OutputError
from engine.monitoring.formatting import format_bytes
from shards.storage.commit import free_bytes


@contextmanager
def new_folder(out: Path, size: int) -> Iterator[Path]:
    """Yield a folder to write about `size` bytes into, which is then renamed to `out`, or removed on an error.

    Raises OutputError if `out` is not empty, its disk is too small, or it cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"--out {out}: exists and is not empty; choose a new folder")
        check_space(out, size)
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.{secrets.token_hex(4)}")
        staged.mkdir()
        try:
            yield staged
            staged.replace(out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"--out {out}: cannot be written: {error}; choose another folder") from None


def check_space(out: Path, size: int) -> None:
    """Raise OutputError if the disk of `out` has less than `size` bytes left."""
    free = free_bytes(out)
    if size > free:
        raise OutputError(
            f"--out {out}: about {format_bytes(size)} are to be written, and {format_bytes(free)} are free; "
            "choose another disk"
        )
