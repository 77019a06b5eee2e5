"""The errors that a target may raise, and a folder for its files."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

from shards.errors import ShardmillError

_LONGEST = 4000


@contextmanager
def our_errors(*, quoted: bool = True) -> Iterator[None]:
    """Takes a ShardmillError as an answer, if it is short. quoted: and has no character that a terminal obeys."""
    try:
        yield
    except ShardmillError as error:
        text = str(error)
        assert 0 < len(text) < _LONGEST, text
        assert not quoted or all(line.isprintable() for line in text.split("\n")), ascii(text)


@cache
def scratch(name: str) -> Path:
    """Return a folder that is removed when this process ends, in memory if the machine has a memory disk."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix=f"shardmill-fuzz-{name}-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def own_cache() -> Iterator[None]:
    """Keep indexes of foreign shards in the scratch folder."""
    with patch.dict(os.environ, {"SHARDMILL_CACHE": str(scratch("cache"))}):
        yield
