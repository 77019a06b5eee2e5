"""An actor with two units: one is published while the next has the device."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from engine.cluster.actor import UnitActor
from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.errors import NoStagingRoom
from engine.generators.generator import Images, Request
from engine.run.run import Run
from shards.errors import CommitConflict
from shards.storage.bucket_store import BucketStore
from shards.storage.folder_store import FolderStore
from shards.storage.store import Store
from tests.cluster.fake_kind import Fake, FakeSettings, fake_run

PATIENCE_S = 60.0
URL = "memory://bucket/run"


class WatchedSettings(FakeSettings):
    """The settings of `Watched`."""

    kind: Literal["watched"] = "watched"  # type: ignore[assignment]


class Watched(Fake):
    """A generator that records the threads that used it and reports each batch."""

    threads: set[int] = set()
    at_work = threading.Lock()
    tell: Callable[[Sequence[Request]], None] = staticmethod(lambda requests: None)

    def generate(self, requests: Sequence[Request]) -> Images:
        assert Watched.at_work.acquire(blocking=False), "two units have the device"
        with_lock = super().generate(requests)
        Watched.threads.add(threading.get_ident())
        Watched.at_work.release()
        Watched.tell(requests)
        return with_lock


GENERATORS.register(WatchedSettings, Watched)


class Late(FolderStore):
    """A store that publishes nothing of the first unit before `may` is set."""

    may = threading.Event()

    def publish(self, staged: Path, name: str) -> None:
        assert not name.startswith("00000") or Late.may.wait(PATIENCE_S), "the second unit waits for the first"
        super().publish(staged, name)


class Unprofiled(FolderStore):
    """A store that refuses files that may be replaced. Profiles may be replaced; shards may not."""

    def replace(self, name: str, data: bytes) -> None:
        raise PermissionError(13, "Permission denied", name)


class Unstaged(BucketStore):
    """A store on a machine whose local disk is full."""

    def staging(self, name: str) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __truediv__(self, name: str) -> "Unstaged":
        return Unstaged(f"{self.url}/{name}")


class Full(FolderStore):
    """A store on a full disk that all nodes share."""

    def staging(self, name: str) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def calls() -> Iterator[ThreadPoolExecutor]:
    """Return a pool with as many threads as Ray uses for one actor."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def maker_of(run: Run, store: Store | None = None, profile: bool = False) -> UnitActor:
    spec = run.context.spec
    model = WatchedSettings(**spec.model.model_dump(exclude={"kind"}))
    context = type(run.context)(spec.model_copy(update={"model": model}), run.context.plan)
    maker = UnitActor(context, store or run.store, profile)
    maker.load()
    return maker


def test_a_unit_is_made_while_the_one_before_is_published(tmp_path: Path, calls: ThreadPoolExecutor) -> None:
    run = fake_run(tmp_path, 2, ClusterSpec())
    second = {run.context.plan.seed_of(slot, 0) for slot in run.context.plan.slots(run.context.plan.unit(1))}
    Late.may.clear()
    Watched.tell = staticmethod(lambda requests: Late.may.set() if requests[0].seed in second else None)
    Watched.threads.clear()
    maker = maker_of(run, Late(str(tmp_path)))
    stats = [call.result() for call in [calls.submit(maker.generate_unit, number) for number in (0, 1)]]
    assert [unit_stats and unit_stats["count"] for unit_stats in stats] == [16, 16]
    assert len(Watched.threads) == 1, "what torch keeps by thread is kept once"


def test_a_cancelled_unit_is_not_begun(tmp_path: Path, calls: ThreadPoolExecutor) -> None:
    run, begun, cancelled = fake_run(tmp_path, 2, ClusterSpec()), threading.Event(), threading.Event()

    def tell(requests: Sequence[Request]) -> None:
        begun.set()
        assert cancelled.wait(PATIENCE_S)

    Watched.tell = staticmethod(tell)
    maker = maker_of(run)
    first = calls.submit(maker.generate_unit, 0)
    assert begun.wait(PATIENCE_S)
    maker.cancel_unit(1)
    second = calls.submit(maker.generate_unit, 1)
    maker.cancel_unit(0)  # too late
    cancelled.set()
    assert second.result(PATIENCE_S) is None
    assert (first.result(PATIENCE_S) or {})["unit"] == 0
    assert (maker.generate_unit(1) or {})["unit"] == 1, "a cancellation is for one call"


def test_unit_finished_by_another_actor_counts(tmp_path: Path) -> None:
    """The first answer was lost, and the second actor has memory for smaller batches only."""
    Watched.tell = staticmethod(lambda requests: None)
    run = fake_run(tmp_path, 1, ClusterSpec())
    first, second = maker_of(run), maker_of(Run(run.store, run.context.with_batch_size(2)))
    stats = first.generate_unit(0)
    before = run.shards.sha256("00000.tar")
    assert second.generate_unit(0) == stats == run.stats()["00000"]
    run.shards.remove("00000_stats.json")  # the first was stopped before the end
    with pytest.raises(CommitConflict, match="other bytes"):
        second.generate_unit(0)
    assert run.shards.sha256("00000.tar") == before


def test_writing_down_where_the_time_goes_changes_no_byte(tmp_path: Path) -> None:
    Watched.tell = staticmethod(lambda requests: None)
    with_it, without = (fake_run(tmp_path / name, 3, ClusterSpec()) for name in ("with", "without"))
    for run, profile in ((with_it, True), (without, False)):
        maker = maker_of(run, profile=profile)
        for number in range(3):
            maker.generate_unit(number)
    names = [name for name in with_it.shards.entries() if name.endswith((".tar", ".parquet"))]
    assert len(names) == 6
    assert [with_it.shards.sha256(name) for name in names] == [without.shards.sha256(name) for name in names]
    assert sorted((with_it.store / "profile").entries()) == ["00000.json", "00001.json", "00002.json"]
    assert not (without.store / "profile").entries()


def test_unwritable_profile_is_reported_and_fails_no_unit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Watched.tell = staticmethod(lambda requests: None)
    run = fake_run(tmp_path, 1, ClusterSpec())
    stats = maker_of(run, Unprofiled(str(tmp_path)), profile=True).generate_unit(0)
    assert (stats or {})["count"] == 16
    assert not run.pending()
    assert "no profile of unit 00000: PermissionError" in caplog.text


def test_full_disk_blames_the_node_only_for_runs_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    Watched.tell = staticmethod(lambda requests: None)
    run = fake_run(tmp_path, 1, ClusterSpec())
    with pytest.raises(NoStagingRoom) as caught:
        maker_of(run, Unstaged(URL)).generate_unit(0)
    assert str(caught.value).startswith(f"{tmp_path}/cache on {socket.gethostname()}: No space left on device; shards")
    assert URL in str(caught.value)
    assert "SHARDMILL_CACHE" in str(caught.value)
    with pytest.raises(OSError, match="No space left"):
        maker_of(run, Full(str(tmp_path / "full"))).generate_unit(0)
