"""Damaged samples: an error names them, or others of their class replace them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards import ShardError, ShardStream
from tests.shards.folders import write


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Write 24 samples. Number 5 is not an image, and the last shard is truncated within number 20."""
    folder = write(tmp_path, "r", 24, False)
    index = pq.read_table(folder / "00000.parquet").to_pylist()
    tar = bytearray((folder / "00000.tar").read_bytes())
    tar[index[5]["image_offset"] + 40 : index[5]["image_offset"] + 60] = b"x" * 20
    (folder / "00000.tar").write_bytes(tar)
    end = pq.read_table(folder / "00002.parquet").to_pylist()[4]["image_offset"] + 10
    (folder / "00002.tar").write_bytes((folder / "00002.tar").read_bytes()[:end])
    return folder


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    write(tmp_path, "r", 4, False)
    with pytest.raises(ShardError, match=r"sample 'r000\d' at byte \d+: its mask cannot be read"):
        ShardStream(tmp_path, mask=True).read([0, 1])


def test_a_sample_of_weight_0_replaces_no_other(damaged: Path, tmp_path: Path) -> None:
    """r0002 and r0008 are of the class of r0005, which is damaged."""
    table = pa.table({"key": ["r0002", "r0005", "r0008"], "weight": [1.0, 1.0, 0.0]})
    pq.write_table(table, tmp_path / "w.parquet")
    stream = ShardStream(damaged, select=tmp_path / "w.parquet", on_error="skip", shuffle=False)
    assert stream.read([0, 1]).key == ("r0002", "r0002")


def test_a_damaged_sample_is_named(damaged: Path) -> None:
    with pytest.raises(ShardError, match=r"00000\.tar, sample 'r0005' at byte \d+: .*run verify"):
        ShardStream(damaged, shuffle=False).read(range(8))
    with pytest.raises(ShardError, match=r"00002\.tar, sample 'r0020' at byte \d+: the file ends \d+ bytes early"):
        ShardStream(damaged, shuffle=False).read(range(16, 24))
    (damaged / "00002.tar").write_bytes(b"")
    with pytest.raises(ShardError, match=r"00002\.tar"):
        ShardStream(damaged).read(range(24))
    with pytest.raises(ShardError, match="there is no such file or folder"):
        ShardStream(damaged / "nothing")


@pytest.mark.parametrize("threads", [1, 3])
def test_damaged_samples_are_replaced_on_request(damaged: Path, threads: int) -> None:
    stream = ShardStream(damaged, shuffle=False, on_error="skip", threads=threads)
    for _ in range(2):
        batch = stream.read(range(24))
        assert batch.label.tolist() == [n % 3 for n in range(24)]
        assert batch.image[:, 0, 0, 0].tolist() == [int(key[1:]) for key in batch.key]
        wrong = [n for n, key in enumerate(batch.key) if key != f"r{n:04d}"]
        assert wrong == [5, 20, 21, 22, 23]
        assert batch.key[5] == "r0008"  # the next one of its class
        assert sorted(stream.skipped) == [f"r{n:04d}" for n in wrong]
    assert "bytes early" in stream.skipped["r0021"]
    first = ShardStream(damaged, shuffle=False, on_error="skip").read([5, 20])
    assert first.label.tolist() == [2, 2]


def test_a_sample_without_replacement_is_an_error(damaged: Path) -> None:
    stream = ShardStream(damaged, on_error="skip", select=["r0005"])
    with pytest.raises(ShardError, match="no other sample of its class"):
        stream.read([0])
