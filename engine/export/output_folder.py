"""The folder that an export makes: there as a whole, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import OutputError
from shards.storage.commit import free_bytes


@contextmanager
def new_folder(out: Path, size: int) -> Iterator[Path]:
    """A folder to write about `size` bytes into, which is renamed to `out` in the end, or removed on an error.

    Raises OutputError where `out` is taken, its disk too small, or it cannot be written.
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
    """Raises OutputError where the disk of `out` has not `size` bytes left."""
    free = free_bytes(out)
    if size > free:
        raise OutputError(
            f"--out {out}: about {size / 1e6:,.1f} MB are to be written, and {free / 1e6:,.1f} MB are free; "
            "choose another disk"
        )
