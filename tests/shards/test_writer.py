"""Writing and publishing: whole or not at all, once, and byte for byte the same."""

import io
import json
import random
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import ShardError
from shards.sample import Sample
from shards.storage.commit import STAGING, sha256_of
from shards.tarball import BLOCK_SIZE, END_OF_TAR, pack_members, member_header
from shards.writing.shard_writer import _ROWS, ShardWriter

ROOT = Path(__file__).parents[2]


def sample(key: str, label: int = 0, **meta: str | int | float | bool) -> Sample:
    fields = {"key": key, "label": label, "prompt": f"a {key}", "synthetic": True} | meta
    return Sample(key, b"image of " + key.encode(), "png", label, fields)


NAMES = st.from_regex(r"[a-z0-9_-]{1,64}(\.[a-z.]{1,12})?", fullmatch=True)


@given(NAMES, st.integers(0, 8**11 - 1))
def test_a_header_is_the_one_that_tarfile_makes(name: str, size: int) -> None:
    reference = tarfile.TarInfo(name)
    reference.size = size
    assert member_header(name, size) == reference.tobuf(tarfile.USTAR_FORMAT)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), min_size=1))
def test_tarfile_reads_what_we_write(files: dict[str, bytes]) -> None:
    data, places = pack_members(files.items())
    with tarfile.open(fileobj=io.BytesIO(data + END_OF_TAR)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == list(files)
        assert [member.offset_data for member in members] == places
        assert [tar.extractfile(member).read() for member in members] == list(files.values())  # type: ignore[union-attr]
    assert len(data) % BLOCK_SIZE == 0


@pytest.mark.parametrize("name", ["k" * 101 + ".png", "größe/ö.png", f"{'a' * 60}/{'b' * 60}.json"])
def test_a_name_that_ustar_cannot_hold_is_read_whole_by_tarfile(name: str) -> None:
    data, (place,) = pack_members([(name, b"content")])
    with tarfile.open(fileobj=io.BytesIO(data + END_OF_TAR)) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.offset_data, data[place : place + 7]) == (name, place, b"content")
    assert member_header(name, 7) == member_header(name, 7)


def test_the_index_names_the_place_of_every_member(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("key", ["", "a.b", "A", "../a", "/a", "a/b", "ä", "k" * 65, "a b"])
def test_a_key_that_a_client_would_misread_is_refused(tmp_path: Path, key: str) -> None:
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


def test_fields_in_another_order_come_into_their_columns(tmp_path: Path) -> None:
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


def test_a_number_beyond_64_bits_is_refused_by_name(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("a", seed=1))
        writer.add(sample("b", seed=2**63))
        with pytest.raises(ShardError, match=f"'seed': {2**63} does not fit"):
            writer.publish()
    assert not list(tmp_path.glob("0*"))


def test_the_index_has_the_bytes_of_a_table_written_whole(tmp_path: Path) -> None:
    """The writer packs rows as they come; parquet's pages and dictionaries must not show it."""
    count, draw = 3 * _ROWS + 7, random.Random(5)
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
from tests.shards.test_writer import sample
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
def test_memory_is_that_of_one_shards_index(tmp_path: Path, per_shard: int, shards: int, most: int) -> None:
    """Growth in the second half, in bytes for each sample of the whole: a row as a dict takes above a thousand."""
    line = [sys.executable, "-c", MEMORY, str(tmp_path), str(per_shard), str(shards)]
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < most


def test_nan_and_a_key_twice_are_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        with pytest.raises(ValueError, match="JSON"):
            writer.add(sample("a", score=float("nan")))
        writer.add(sample("b", score=0.5))
        with pytest.raises(ShardError, match="twice"):
            writer.add(sample("b", score=0.5))


def test_a_writer_that_is_left_without_publishing_leaves_nothing(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "00000") as writer:
        writer.add(sample("a"))
    assert [path.name for path in tmp_path.rglob("*")] == [STAGING]
