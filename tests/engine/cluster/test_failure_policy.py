"""Which failures are charged to a unit, and which ones stop an actor, exclude a node, or stop the run."""

import errno
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError

from engine.cluster.assignments import ActorHandle
from engine.cluster.failure_policy import FailureDecision, FailurePolicy
from engine.cluster.work_queue import WorkQueue
from engine.errors import NoStagingRoom, SlotFailed
from engine.run.run import Run
from shards.storage.retries import AccessRefused, StoreUnreachable
from tests.engine.cluster.fake_pool import FakePool, begin

FULL = OSError(errno.ENOSPC, "No space left on device")


def decide(error: Exception, one_disk: bool = True) -> FailureDecision:
    return FailurePolicy(3, one_disk).on_unit_error(ActorHandle(None, None, 4), 0, error, 1)


@pytest.mark.parametrize(
    ("error", "usable", "charged"),
    [
        (ActorDiedError(), True, True),
        (ActorDiedError(), False, False),
        (ActorUnavailableError("unreachable", None), True, False),
        (OutOfMemoryError("the node's memory monitor"), True, True),
    ],
)
def test_which_lost_processes_are_charged_to_units(error: RayError, usable: bool, charged: bool) -> None:
    decision = FailurePolicy(3, one_disk=True).on_actor_death(error, usable)
    assert decision == FailureDecision(charge_unit=charged, isolate_units=charged)


def test_a_unit_that_timed_out_is_charged() -> None:
    assert FailurePolicy(3, one_disk=True).on_timeout() == FailureDecision(charge_unit=True)


def test_a_unit_is_retried_until_its_attempts_are_used() -> None:
    policy = FailurePolicy(3, one_disk=True)
    assert [policy.may_retry(attempts) for attempts in (1, 2, 3)] == [True, True, False]


def test_failures_of_stores_and_disks_are_charged_to_no_unit() -> None:
    assert decide(StoreUnreachable("s3://x: cannot be read")) == FailureDecision(pause=True)
    assert decide(AccessRefused("s3://x: access is refused")) == FailureDecision(stop_run=True)
    assert decide(FULL) == FailureDecision(stop_run=True)
    no_room = decide(NoStagingRoom("/cache on n1: No space left on device"), one_disk=False)
    assert no_room == FailureDecision(stop_actor="/cache on n1: No space left on device", exclude_node=True)
    assert decide(FULL, one_disk=False).charge_unit, "with several disks, the full one need not be that of the shards"


def test_while_the_run_stops_no_unit_is_charged() -> None:
    policy, actor = FailurePolicy(3, one_disk=True), ActorHandle(None, None, 4)
    assert policy.on_unit_error(actor, 0, FULL, 1).stop_run
    for error in (ValueError("x"), StoreUnreachable("s3://x"), SlotFailed("x")):
        assert policy.on_unit_error(actor, 1, error, 1) == FailureDecision(stop_run=True)


def test_errors_of_a_units_content_never_stop_an_actor() -> None:
    policy, actor = FailurePolicy(3, one_disk=True), ActorHandle(None, None, 4)
    for number in range(9):
        error = SlotFailed("ValueError: no such colour (slot 7)")
        assert policy.on_unit_error(actor, number, error, 1) == FailureDecision(charge_unit=True)


class BreakingPool(FakePool):
    """A pool some of whose actors break: after a number of units, each further unit raises `error`.

    breaks_after: units until each actor breaks; None for never. mended: the replacement of an actor does not break.
    """

    def __init__(self, run: Run, breaks_after: Sequence[int | None], error: str, mended: bool) -> None:
        super().__init__(run, [f"n{number}" for number in range(len(breaks_after))])
        self._error, self._mended = RuntimeError(error), mended
        self._policy = FailurePolicy(run.context.spec.cluster.unit_attempts, one_disk=True)
        self._breaks_after = {actor.node: count for actor, count in zip(self.ready, breaks_after, strict=True)}
        self._units_left = {actor: self._breaks_after[actor.node] for actor in self.ready}
        self.quarantined: set[int] = set()
        self.stopped = 0

    def finish_one(self, actor: ActorHandle, queue: WorkQueue, bad: set[int]) -> int | None:
        """Let an actor end its running unit; return the unit's number if it succeeded."""
        assignment = actor.assignments[0]
        number, units_left = assignment.unit_number, self._units_left[actor]
        self.end(assignment)
        broken = units_left is not None and units_left <= 0
        self._units_left[actor] = None if units_left is None else units_left - 1
        if not broken and number not in bad:
            self._policy.on_success(actor)
            queue.mark_done(number)
            return number
        self._fail(actor, queue, number, self._error if broken else ValueError("bad"))
        return None

    def _fail(self, actor: ActorHandle, queue: WorkQueue, number: int, error: Exception) -> None:
        decision = self._policy.on_unit_error(actor, number, error, len(self))
        if decision.stop_actor:
            self._replace(actor, queue)
        if not decision.charge_unit:
            queue.put_back(number)
        elif self._policy.may_retry(queue.attempts_used(number) + 1):
            queue.retry(number, error)
        else:
            queue.quarantine(number, error)
            self.quarantined.add(number)

    def _replace(self, actor: ActorHandle, queue: WorkQueue) -> None:
        queue.put_back(*self.kill(actor))
        self.stopped += 1
        if actor.node not in self._policy.avoided_nodes(self._breaks_after):
            self._units_left[self.add(actor.node)] = None if self._mended else self._breaks_after[actor.node]


def work(pool: BreakingPool, queue: WorkQueue, bad: set[int], order: Sequence[int], limit: int) -> list[int]:
    """Work until nothing is left; return the finished units. order: which of the busy actors ends a unit next."""
    done: list[int] = []
    for step in range(limit):
        pool.assign(queue)
        busy = [actor for actor in pool.ready if actor.assignments]
        if not busy:
            assert not queue
            return done
        number = pool.finish_one(busy[order[step % len(order)] % len(busy)], queue, bad)
        done += [] if number is None else [number]
    raise AssertionError(f"no end after {limit} units")


def breaking(
    folder: str | Path, units: int, breaks_after: Sequence[int | None], error: str, mended: bool, attempts: int = 3
) -> tuple[BreakingPool, WorkQueue]:
    pool, queue = begin(Path(folder), units, 0, attempts)
    return BreakingPool(pool._run, breaks_after, error, mended), queue


ERRORS = st.sampled_from(["CUDA error: unspecified launch failure", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"])
ORDERS = st.lists(st.integers(0, 9), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=4),
    st.sets(st.integers(0, 11)),
    ERRORS,
    st.booleans(),
    ORDERS,
)
def test_a_run_ends_and_every_bad_unit_is_quarantined(
    units: int, breaks_after: list[int | None], bad: set[int], error: str, mended: bool, order: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        pool, queue = breaking(folder, units, breaks_after, error, mended, attempts=2)
        done = work(pool, queue, bad, order, limit=units * (2 * 2 + 1) + 1)
    assert sorted(done) == sorted(set(range(units)) - pool.quarantined)
    assert bad & set(range(units)) <= pool.quarantined


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 5), ERRORS, ORDERS)
def test_a_device_that_breaks_once_costs_no_unit(
    units: int, sound: int, after: int, error: str, order: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        pool, queue = breaking(folder, units, [after, *[None] * sound], error, mended=True)
        done = work(pool, queue, set(), order, limit=units + 3)
    assert sorted(done) == list(range(units))
    assert pool.stopped <= 1


@pytest.mark.parametrize("error", ["CUDA error: no kernel image is available", "cuDNN error: x"])
def test_a_node_whose_device_never_works_is_avoided(tmp_path: Path, error: str) -> None:
    pool, queue = breaking(tmp_path, 40, [0, None], error, mended=False)
    assert len(work(pool, queue, set(), [0, 1, 1], limit=80)) == 40
    assert pool.stopped == 3
    assert [actor.node for actor in pool.ready] == ["n1"]


def test_few_actors_are_replaced_if_every_unit_fails(tmp_path: Path) -> None:
    pool, queue = breaking(tmp_path, 40, [None, None], "", mended=True)
    assert not work(pool, queue, set(range(40)), [0, 1], limit=200)
    assert 3 <= pool.stopped <= 6
    assert {queue.attempts_used(number) for number in range(40)} == {3}
