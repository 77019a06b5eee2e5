"""Selections: samples chosen by key, with weights."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards import ShardError, ShardStream
from tests.shards.folders import write

NAMES = {0: "cat", 1: "dog", 2: "owl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stream"), "s", 50, True, classes=NAMES, mask=True)


def test_a_selection_takes_samples_by_key(folder: Path, tmp_path: Path) -> None:
    keys = [f"s{n:04d}" for n in (49, 3, 17, 20)]
    pq.write_table(pa.table({"key": keys}), tmp_path / "keep.parquet")
    for chosen in (keys, tmp_path / "keep.parquet", str(tmp_path / "keep.parquet")):
        stream = ShardStream(folder, select=chosen, seed=1)
        assert len(stream) == 4
        for epoch in range(3):
            assert sorted(stream.read(range(4 * epoch, 4 * epoch + 4)).key) == sorted(keys)


def test_weights_of_a_selection_repeat_samples(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["s0007", "s0001"], "weight": [3.0, 1.0]}), tmp_path / "w.parquet")
    stream = ShardStream(folder, select=tmp_path / "w.parquet")
    assert sorted(stream.read(range(4)).key) == ["s0001", "s0007", "s0007", "s0007"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"key": ["s0001", "x"]}, "1 of 2 keys are not in the shards, the first is 'x'"),
        ({"key": ["s0001", "s0001"]}, "twice"),
        ({"name": ["s0001"]}, "a selection has a column `key`, this has name"),
        ({"key": ["s0001"], "weight": [-1.0]}, "weights must be"),
        ({"key": ["s0001"], "weight": [float("nan")]}, "weights must be"),
        ({"key": ["s0001"], "weight": [0.0]}, "selects nothing"),
        ({"key": pa.array([], pa.string())}, "selects nothing"),
    ],
)
def test_an_invalid_selection_is_refused(folder: Path, tmp_path: Path, table: dict[str, object], words: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "keep.parquet")
    with pytest.raises(ShardError, match=words):
        ShardStream(folder, select=tmp_path / "keep.parquet")
    with pytest.raises(ShardError, match="cannot be read as parquet"):
        ShardStream(folder, select=tmp_path / "absent.parquet")


def test_a_selected_key_of_several_samples_is_refused(folder: Path, tmp_path: Path) -> None:
    again = write(tmp_path, "s", 3, False, classes=NAMES)
    assert len(ShardStream([folder, again], select=["s0003"])) == 1
    with pytest.raises(ShardError, match="several samples of the shards have the key 's0002'"):
        ShardStream([folder, again], select=["s0003", "s0002"])
