"""Runs in a folder and in a bucket: beginning, making, repairing and resuming give the same bytes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.s3_server import S3, serve_s3
from engine.config.spec import Spec
from engine.errors import OutputError, RunMismatch, SpecError
from engine.run.run import Run, begin_run, load_run, plan_run, remove_unfinished
from engine.worker.runner import run_unit
from engine.workflows.repairing import findings, remove_damaged
from shards import ShardStream
from shards.errors import CommitConflict, ShardError
from shards.storage.open_store import open_store
from shards.storage.store import Store
from tests.engine.fakes import FakeGenerator
from tests.engine.places import fill, layouts, of_bank, spec


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serve_s3() as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def bucket(server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    with server.environment():
        yield open_store(f"s3://bucket/{tmp_path.name}")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path / "place")


def make(run: Run) -> None:
    for number in run.pending():
        run_unit(run.context, number, FakeGenerator(), run.shards)
    run.write_card()


def contents(run: Run) -> dict[str, str]:
    return {name: run.shards.sha256(name) for name in run.shards.entries() if name.endswith((".tar", ".parquet"))}


def make_spec(place: Path, **changes: object) -> Spec:
    return spec(place, {"output": {"samples_per_shard": 1}} | of_bank(place) | layouts(place) | changes)


def begin(place: Path, out: Store | Path) -> Run:
    return begin_run(plan_run(make_spec(place), out), out)


def test_a_bucket_holds_the_run_that_a_folder_holds(place: Path, tmp_path: Path, bucket: Store) -> None:
    local, remote = begin(place, tmp_path / "run"), begin(place, bucket)
    make(local)
    make(remote)
    assert contents(remote) == contents(local)
    assert len(contents(local)) == 2 * local.context.plan.n_units
    assert list(findings(remote)) == list(findings(local)) == []
    again = load_run(bucket.url)
    assert again.pending() == []
    assert again.context.plan.digest == local.context.plan.digest
    assert len(ShardStream(remote.shards.url)) == local.context.plan.total
    with pytest.raises(RunMismatch, match="was begun with another spec"):
        begin_run(plan_run(make_spec(place, seed=9)), bucket)
    with pytest.raises(SpecError, match="not a run"):
        load_run(f"{bucket.url}/elsewhere")


def test_actors_elsewhere_fetch_the_inputs(
    place: Path, bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = begin(place, bucket)
    for name in ("layouts", "bank.parquet"):
        (place / name).rename(place / f"moved-{name}")
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "another machine's"))
    remote = load_run(bucket)
    assert remote.context.assets.files != local.context.assets.files, "the other machine has its own copies"
    for slot in map(local.context.plan.slot, range(local.context.plan.total)):
        local_request, remote_request = local.context.request(slot, 0), remote.context.request(slot, 0)
        assert local_request.prompt == remote_request.prompt
        assert local_request.condition is not None
        assert remote_request.condition is not None
        assert (local_request.condition.control(16, 16) == remote_request.condition.control(16, 16)).all()
    make(remote)
    assert list(findings(remote)) == []


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_repair_makes_what_is_damaged_and_nothing_else(where: str, place: Path, tmp_path: Path, bucket: Store) -> None:
    run = begin(place, bucket if where == "bucket" else tmp_path / "run")
    make(run)
    whole, stats = contents(run), run.stats()
    data = bytearray(run.shards.read("00000.tar"))
    data[700] ^= 4
    run.shards.replace("00000.tar", bytes(data))  # one flipped bit
    run.shards.replace("00001.parquet", run.shards.read("00001.parquet")[:-9])  # a truncated index
    run.shards.remove("00002.tar")
    run.shards.remove("00003_stats.json")  # an unfinished unit with files of an earlier attempt
    run.shards.replace("00003.tar", b"of another kind of device")
    run.shards.replace("notes.txt", b"mine")
    problems = list(findings(run))
    assert {finding.shard for finding in problems} == {"00000", "00001", "00002", "00003", None}
    assert remove_damaged(run, problems) == ["00000", "00001", "00002", "00003"]
    assert run.pending() == [0, 1, 2, 3]
    make(run)
    assert contents(run) == whole
    assert [finding.text for finding in findings(run)] == ["notes.txt: not a file of this run"]
    assert {name: unit_stats for name, unit_stats in run.stats().items() if name > "00003"} == {
        name: unit_stats for name, unit_stats in stats.items() if name > "00003"
    }


def test_what_a_dead_worker_left_unfinished_goes_when_it_is_old(place: Path, tmp_path: Path) -> None:
    run = begin(place, tmp_path / "run")
    folder = tmp_path / "run" / "shards"
    run_unit(run.context, 1, FakeGenerator(), run.shards)
    finished = contents(run)
    run.shards.replace("00000.tar", b"of another kind of device")
    assert remove_unfinished(run, 3600) == []
    begin(place, tmp_path / "run")
    assert (folder / "00000.tar").exists(), "the writer of these files may still run"
    old = time.time() - run.context.spec.cluster.unit_timeout_s - 60
    for path in folder.iterdir():
        os.utime(path, (old, old))
    begin(place, tmp_path / "run")
    assert not (folder / "00000.tar").exists()
    assert contents(run) == finished


def test_a_store_that_overwrites_is_refused_or_used_with_care(place: Path, bucket: Store, server: S3) -> None:
    server.ignore_conditions()
    with pytest.raises(OutputError, match=r"set cluster\.best_effort_commit=true"):
        begin(place, bucket)
    run = begin_run(plan_run(make_spec(place, cluster={"best_effort_commit": True})), bucket)
    make(run)
    assert list(findings(run)) == []
    staged = run.shards.staging("00000.tar")
    staged.write_bytes(b"late, and of other bytes")
    with pytest.raises(CommitConflict, match="exists with other bytes"):
        run.shards.publish(staged, "00000.tar")
    server.ignore_conditions(False)


def test_a_bucket_that_is_not_there_is_named(place: Path, server: S3, bucket: Store) -> None:
    with pytest.raises((OutputError, ShardError), match="s3://nobodys/run"):
        begin(place, open_store("s3://nobodys/run"))
