"""Writing and publishing: whole or not at all, once, and byte for byte the same."""

import io
import json
import tarfile
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.commit import STAGING, publish, publish_json, sha256_of, staging_path, sweep_staging
from shards.errors import CommitConflict, ShardError
from shards.sample import Sample
from shards.tarball import END, header, padding
from shards.writer import ShardWriter


def sample(key: str, label: int = 0, **meta: str | int | float | bool) -> Sample:
    fields = {"key": key, "label": label, "prompt": f"a {key}", "synthetic": True} | meta
    return Sample(key, b"image of " + key.encode(), "png", label, fields)


@given(st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True), st.binary(max_size=2000))
def test_tarfile_reads_what_we_write(name: str, data: bytes) -> None:
    whole = header(name, len(data)) + data + padding(len(data)) + END
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.size, member.mode, member.mtime, member.uid) == (name, len(data), 0o644, 0, 0)
        assert tar.extractfile(member).read() == data  # type: ignore[union-attr]


def test_a_header_that_would_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="ustar"):
        header("k" * 101, 1)


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


def test_of_many_publishers_one_wins_and_equal_ones_succeed(tmp_path: Path) -> None:
    results: list[bool] = []

    def race(content: dict[str, int]) -> None:
        results.append(publish_json(tmp_path / "x.json", content))

    threads = [threading.Thread(target=race, args=({"writer": i},)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    winner = json.loads((tmp_path / "x.json").read_text())
    assert publish_json(tmp_path / "x.json", winner)
    assert not list((tmp_path / STAGING).iterdir())


def test_publishing_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("first")
    staged = staging_path(tmp_path, "x")
    staged.write_text("second")
    with pytest.raises(CommitConflict, match="run the same command again"):
        publish(staged, tmp_path / "x")
    assert (tmp_path / "x").read_text() == "first"


def test_sweeping_spares_the_young(tmp_path: Path) -> None:
    staging_path(tmp_path, "young").write_text("a live writer's")
    assert sweep_staging(tmp_path) == 0
    assert sweep_staging(tmp_path, older_than_seconds=-1) == 1
    assert not (tmp_path / STAGING).exists()
