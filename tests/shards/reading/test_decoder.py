"""Decoding of batches: threads, and memory that is reused."""

from pathlib import Path

import pytest

from shards import ShardStream
from tests.shards.folders import write

NAMES = {0: "cat", 1: "dog", 2: "owl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stream"), "s", 50, True, classes=NAMES, mask=True)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_the_number_of_threads_changes_nothing(folder: Path, threads: int | None) -> None:
    expected = ShardStream(folder, seed=5, threads=1).read(range(50))
    batch = ShardStream(folder, seed=5, threads=threads).read(range(50))
    assert batch.key == expected.key
    assert (batch.image == expected.image).all()
    assert ShardStream(folder, threads=threads).read([7]).image.shape == (1, 4, 4, 3)


def test_memory_of_an_unreferenced_batch_is_reused(folder: Path) -> None:
    stream = ShardStream(folder, shuffle=False)
    places = {stream.read(range(5 * n, 5 * n + 5)).image.ctypes.data for n in range(10)}
    assert len(places) == 1


def test_a_referenced_batch_is_never_overwritten(folder: Path) -> None:
    stream = ShardStream(folder, shuffle=False)
    held = [stream.read(range(5 * n, 5 * n + 5)) for n in range(10)]
    views = [stream.read(range(5 * n, 5 * n + 5)).image[1:2, 0] for n in range(10)]
    for n, (batch, view) in enumerate(zip(held, views, strict=True)):
        assert batch.image[:, 3, 3, 2].tolist() == list(range(5 * n, 5 * n + 5))
        assert view[0, 0, 0] == 5 * n + 1
