"""The commit protocol over a folder, an S3 server on the loopback interface, and fsspec's memory."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from bench.s3_server import S3, serve_s3
from shards.errors import CommitConflict, ShardError
from shards.storage.bucket_store import BucketStore
from shards.storage.commit import STAGING, sha256_of
from shards.storage.folder_store import FolderStore
from shards.storage.manifest import finished_shards, publish_stats, read_stats
from shards.storage.open_store import open_store
from shards.storage.retries import FileMissing
from shards.storage.store import Store


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serve_s3() as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture(params=["folder", "s3", "memory"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: S3
) -> Iterator[Store]:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        yield open_store(tmp_path / "run")
    elif request.param == "memory":
        yield open_store(f"memory://{tmp_path.name}/run")
        fsspec.filesystem("memory").store.clear()
    else:
        with server.environment():
            yield open_store(f"s3://bucket/{tmp_path.name}/run")


def stage(store: Store, name: str, data: bytes) -> Path:
    path = store.staging(name)
    path.write_bytes(data)
    return path


def test_a_name_is_published_once(store: Store) -> None:
    first = stage(store, "a.tar", b"first")
    store.publish(first, "a.tar")
    assert not first.exists()
    store.publish(stage(store, "a.tar", b"first"), "a.tar")  # the same bytes: done already
    other = stage(store, "a.tar", b"other")
    with pytest.raises(CommitConflict, match="exists with other bytes"):
        store.publish(other, "a.tar")
    assert other.exists(), "its writer may inspect or remove it"
    assert store.read("a.tar") == b"first"
    assert store.refuses_overwriting()
    assert list(store.entries()) == ["a.tar"], "the probe leaves no file"


def test_one_of_many_publishers_wins(store: Store) -> None:
    results: list[bool] = []
    barrier = threading.Barrier(8)

    def race(content: dict[str, int]) -> None:
        barrier.wait()
        results.append(store.publish_json("x.json", content))

    threads = [threading.Thread(target=race, args=({"writer": i},)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = json.loads(store.read("x.json"))
    assert store.publish_json("x.json", winner), "equal content means that the response of its own write was lost"
    if "memory" not in store.url:  # the memory store checks before it writes, so several threads may succeed
        assert sorted(results) == [False] * 7 + [True]


def test_reads_return_what_was_written(store: Store) -> None:
    assert store.entries() == {}
    assert store.size("card") is None
    for ask in (store.read, store.sha256, lambda name: store.local_copy(name).__enter__()):
        with pytest.raises(FileMissing, match="no such file"):
            ask("card")
    store.replace("card", b"0123456789")
    store.replace("card", b"9876543210")
    store.publish(stage(store, "b.tar", b"bytes"), "b.tar")
    (store / "inside").replace("c", b"c")
    assert {name: entry.size for name, entry in store.entries().items()} == {"b.tar": 5, "card": 10}
    assert store.read("card", 3, 4) == b"6543"
    assert store.size("card") == 10
    with store.local_copy("b.tar") as path:
        assert path.read_bytes() == b"bytes"
        assert store.sha256("b.tar") == sha256_of(path)
    store.remove("b.tar")
    store.remove("b.tar")
    assert list(store.entries()) == ["card"]
    assert (store / "inside").read("c") == b"c"


def test_stats_are_published_after_their_files(store: Store) -> None:
    def stats(size: int, device: str = "cpu") -> dict[str, object]:
        names = ("00000.tar", "00000.parquet")
        return {"files": [{"name": name, "size": size, "sha256": ""} for name in names], "device": device}

    for name in ("00000.tar", "00000.parquet"):
        store.publish(stage(store, name, b"four"), name)
    with pytest.raises(ShardError, match=r"00000\.tar: was changed or swept"):
        publish_stats(store, "00000", stats(5))
    assert finished_shards(store) == []
    assert publish_stats(store, "00000", stats(4)) == stats(4)
    assert publish_stats(store, "00000", stats(4, "cuda")) == stats(4), "the first write remains"
    assert finished_shards(store) == ["00000"]
    store.replace("00000_stats.json", b"{")
    with pytest.raises(ShardError, match="damaged"):
        read_stats(store, "00000")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: S3) -> Iterator[BucketStore]:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("shards.storage.retries._FIRST_WAIT_S", 0.01)
    with server.environment():
        yield BucketStore(f"s3://bucket/{tmp_path.name}")


@pytest.mark.parametrize("fault", ["500", "503", "409", "hang-up", "lost"])
def test_a_failed_put_is_retried(bucket: BucketStore, server: S3, fault: str) -> None:
    server.fail(fault, method="PUT", contains="a.tar", count=2)
    bucket.publish(stage(bucket, "a.tar", b"first"), "a.tar")
    assert bucket.read("a.tar") == b"first"


def test_a_file_system_without_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(str(tmp_path))

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)  # as file systems over object stores do
    with pytest.raises(ShardError, match="has no hard links"):
        store.publish(stage(store, "a", b"a"), "a")


def test_sweeping_spares_young_files(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    young, old = stage(store, "young", b"a live writer's"), stage(store, "old", b"a dead one's")
    os.utime(old, (0, time.time() - 25 * 3600))
    store.sweep()
    assert [path.name for path in (tmp_path / STAGING).iterdir()] == [young.name]
    young.unlink()
    store.sweep()
    assert not (tmp_path / STAGING).exists()


def test_a_missing_backend_is_named() -> None:
    with pytest.raises(ShardError, match="pip install"):
        open_store("gs://bucket/run")
