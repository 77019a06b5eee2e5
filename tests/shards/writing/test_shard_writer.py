"""The shard writer: publishes whole shards or nothing, with equal bytes for equal samples."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.errors import ShardError
from shards.sample import Sample
from shards.storage.commit import STAGING, sha256_of
from shards.writing.shard_writer import _ROWS_PER_CHUNK, ShardWriter

ROOT = Path(__file__).parents[3]


def sample(key: str, label: int = 0, **meta: str | int | float | bool) -> Sample:
    fields = {"key": key, "label": label, "prompt": f"a {key}", "synthetic": True} | meta
    return Sample(key, b"image of " + key.encode(), "png", label, fields)


def test_the_index_has_the_offset_of_every_member(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        for i in range(5):
            writer.add(sample(f"k{i}", i))
        tar, index = writer.publish()
    data = (tmp_path / "00000.tar").read_bytes()
    assert (tar.size, tar.sha256) == (len(data), sha256_of(tmp_path / "00000.tar"))
    assert index.sha256 == sha256_of(tmp_path / "00000.parquet")
    rows = pq.read_table(tmp_path / "00000.parquet").to_pylist()
    for i, row in enumerate(rows):

        def member(name: str, row: dict[str, int] = row) -> bytes:
            return data[row[f"{name}_offset"] : row[f"{name}_offset"] + row[f"{name}_size"]]

        assert member("image") == b"image of k%d" % i
        assert member("cls") == b"%d" % i
        assert member("txt") == b"a k%d" % i
        assert json.loads(member("json")) == {name: row[name] for name in json.loads(member("json"))}
    assert not list((tmp_path / STAGING).iterdir())


def test_the_index_has_keys_that_the_metadata_lacks(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        for key in "ab":
            writer.add(Sample(key, b"image", "png", 0, {"prompt": ""}))
        with pytest.raises(ShardError, match=r"^c: field 'prompt' is int"):
            writer.add(Sample("c", b"image", "png", 0, {"prompt": 1}))
        writer.publish()
    assert pq.read_table(tmp_path / "00000.parquet")["key"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("key", ["", "a.b", "A", "../a", "/a", "a/b", "ä", "k" * 65, "a b"])
def test_a_key_that_clients_misread_is_refused(tmp_path: Path, key: str) -> None:
    with ShardWriter(tmp_path, "00000") as writer, pytest.raises(ShardError, match="must match"):
        writer.add(sample(key))


@pytest.mark.parametrize(
    ("meta", "word"), [({"score": 1}, "int, and was float"), ({"score": 0.5, "more": 1}, "more"), ({}, "score")]
)
def test_fields_keep_their_names_and_types(tmp_path: Path, meta: dict[str, float], word: str) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("a", score=0.5))
        with pytest.raises(ShardError, match=word):
            writer.add(sample("b", **meta))


def test_fields_in_another_order_go_to_their_columns(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("a", score=0.5))
        other = sample("b", 1, score=1.5)
        writer.add(replace(other, meta=dict(reversed(other.meta.items()))))
        writer.publish()
    rows = pq.read_table(tmp_path / "00000.parquet").to_pylist()
    assert [(row["key"], row["label"], row["prompt"], row["score"]) for row in rows] == [
        ("a", 0, "a a", 0.5),
        ("b", 1, "a b", 1.5),
    ]


def test_a_number_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("a", seed=1))
        writer.add(sample("b", seed=2**63))
        with pytest.raises(ShardError, match=f"'seed': {2**63} does not fit"):
            writer.publish()
    assert not list(tmp_path.glob("0*"))


def test_chunked_rows_give_the_bytes_of_one_table(tmp_path: Path) -> None:
    """Chunks must not change parquet's pages and dictionaries."""
    count, draw = 3 * _ROWS_PER_CHUNK + 7, random.Random(5)
    with ShardWriter(tmp_path, "00000") as writer:
        for i in range(count):
            text = "".join(draw.choices("abc äöü", k=draw.randrange(5, 200)))
            writer.add(sample(f"k{draw.getrandbits(64):x}", i % 10, text=text, score=draw.random()))
        writer.publish()
    whole = pa.Table.from_pylist(pq.read_table(tmp_path / "00000.parquet").to_pylist())
    assert whole.num_rows == count
    pq.write_table(whole, tmp_path / "whole.parquet", compression="zstd")
    assert sha256_of(tmp_path / "whole.parquet") == sha256_of(tmp_path / "00000.parquet")


MEMORY = """
import sys, psutil
from pathlib import Path
from tests.shards.writing.test_shard_writer import sample
from shards.writing.shard_writer import ShardWriter
per_shard, number, used = int(sys.argv[2]), 0, []
for shard in range(int(sys.argv[3])):
    with ShardWriter(Path(sys.argv[1]), f"{shard:05d}") as writer:
        for number in range(number, number + per_shard):
            writer.add(sample(f"{number:09d}", score=0.5))
            if number % 1000 == 0:
                used.append(psutil.Process().memory_info().rss)
        number += 1
        writer.publish()
print((max(used[len(used) // 2 :]) - used[len(used) // 4]) / number)
"""


@pytest.mark.parametrize(("per_shard", "shards", "most"), [(1000, 60, 60), (60_000, 1, 500)])
def test_memory_does_not_grow_beyond_one_index(tmp_path: Path, per_shard: int, shards: int, most: int) -> None:
    """The limit is on growth in the second half, in bytes per sample. A row as a dict takes over 1000 bytes."""
    line = [sys.executable, "-c", MEMORY, str(tmp_path), str(per_shard), str(shards)]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < most


def test_nan_is_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer, pytest.raises(ValueError, match="JSON"):
        writer.add(sample("a", score=float("nan")))


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("b", score=0.5))
        with pytest.raises(ShardError, match="twice"):
            writer.add(sample("b", score=0.5))


def test_a_writer_closed_unpublished_leaves_nothing(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("a"))
    assert [path.name for path in tmp_path.rglob("*")] == [STAGING]
