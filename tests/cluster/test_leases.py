"""Which actor makes which unit, where each may have two: what is queued, recalled, given back and charged."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cluster.actor_pool import ActorPool
from engine.cluster.assignments import UNITS_PER_ACTOR, ActorHandle, Assignment, overdue_assignments, queued_assignments, settle
from engine.cluster.failure_policy import FailurePolicy
from engine.cluster.work_queue import WorkQueue
from engine.config.cluster_spec import ClusterSpec
from engine.errors import SlotFailed
from engine.run.run import Run
from tests.cluster.fake_kind import fake_run


class Method:
    """Of an actor that is no process: it keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def remote(self, number: int) -> object:
        self.asked.append(number)
        return object()


class Actor:
    def __init__(self) -> None:
        self.make, self.recall = Method(), Method()


class Held(ActorPool):
    """Of such actors."""

    def __init__(self, run: Run, nodes: Sequence[str]) -> None:
        super().__init__(run)
        self.ready = [ActorHandle(Actor(), None, 4, node) for node in nodes]

    def _kill(self, maker: ActorHandle) -> None:
        pass

    def units(self) -> list[list[int]]:
        """Those of each actor, in their order."""
        return [[lease.number for lease in maker.leases] for maker in self.ready]

    def end_of(self, lease: Assignment) -> None:
        """An actor finished a unit, or gave it back."""
        self.made(next(ref for ref, one in self.making.items() if one is lease))


def begin(folder: Path, units: int, actors: int, attempts: int = 3) -> tuple[Held, WorkQueue]:
    run = fake_run(folder, units, ClusterSpec(unit_attempts=attempts))
    return Held(run, [f"n{number}" for number in range(actors)]), WorkQueue(run)


def test_every_actor_gets_one_before_any_gets_a_second(tmp_path: Path) -> None:
    crew, backlog = begin(tmp_path, 9, 3)
    for expected in ([[0, 3], [1, 4], [2, 5]], [[3, 6], [1, 4], [2, 5]]):
        crew.deal(backlog)
        assert crew.units() == expected
        crew.end_of(crew.ready[0].leases[0])
    few, rest = begin(tmp_path / "few", 4, 3)
    few.deal(rest)
    assert few.units() == [[0, 3], [1], [2]]


def test_what_is_queued_goes_to_an_actor_that_has_nothing_to_do(tmp_path: Path) -> None:
    crew, backlog = begin(tmp_path, 4, 2)
    crew.deal(backlog)
    slow, fast = crew.ready
    crew.end_of(fast.leases[0])
    crew.end_of(fast.leases[0])
    for _ in range(2):  # it is asked for once
        crew.deal(backlog)
    assert slow.actor.recall.asked == [2]
    crew.end_of(slow.leases[1])
    backlog.give_back(2)
    crew.deal(backlog)
    assert crew.units() == [[0], [2]]


def test_a_recall_asks_for_all_that_is_queued_and_for_nothing_else(tmp_path: Path) -> None:
    crew, backlog = begin(tmp_path, 9, 3)
    crew.deal(backlog)
    crew.recall()
    assert [maker.actor.recall.asked for maker in crew.ready] == [[3], [4], [5]]


def test_a_node_that_goes_gets_no_unit_and_gives_back_the_queued_one(tmp_path: Path) -> None:
    crew, backlog = begin(tmp_path, 9, 2)
    crew.deal(backlog)
    going = crew.ready[0]
    crew.leave({"n0"})
    assert going.actor.recall.asked == [2]
    crew.end_of(going.leases[1])
    backlog.give_back(2)
    crew.deal(backlog)
    assert crew.units() == [[0], [1, 3]]
    crew.end_of(going.leases[0])
    crew.leave({"n0"})
    assert crew.units() == [[1, 3]]


def test_a_unit_is_timed_from_when_its_actor_turned_to_it() -> None:
    maker = ActorHandle(None, None, 4)
    maker.leases = [Assignment(maker, 7, since=100.0), Assignment(maker, 8, since=101.0)]
    first, second = maker.leases
    assert overdue_assignments([maker], 200.0, 100.0) == []
    assert overdue_assignments([maker], 200.1, 100.0) == [first]
    settle(first, 190.0)
    assert overdue_assignments([maker], 289.0, 100.0) == []
    assert overdue_assignments([maker], 291.0, 100.0) == [second]
    maker.leases.append(Assignment(maker, 9, since=200.0))
    settle(maker.leases[1], 285.0)  # it was recalled, which is no news of the first
    assert overdue_assignments([maker], 291.0, 100.0) == [second]


def test_when_a_process_dies_one_unit_is_charged_and_those_that_were_in_it_are_made_alone(tmp_path: Path) -> None:
    crew, backlog = begin(tmp_path, 5, 2)
    crew.deal(backlog)
    dead = crew.ready[0]
    backlog.suspect(lease.number for lease in dead.leases)
    making, behind = crew.lose(dead)
    backlog.give_back(*behind)
    assert not backlog.charge(making, ValueError("it died"))
    assert [backlog.used(number) for number in range(5)] == [1, 0, 0, 0, 0]
    crew.deal(backlog)
    assert crew.units() == [[1, 3]], "the first of the waiting units is to be alone, and holds up the others"
    crew.ready.append(ActorHandle(Actor(), None, 4))
    crew.deal(backlog)
    assert crew.units() == [[1, 3], [2]]
    for _ in range(2):
        crew.end_of(crew.ready[0].leases[0])
    crew.deal(backlog)
    assert crew.units() == [[4], [2]], "the one that was charged comes last, and alone too"
    crew.end_of(crew.ready[0].leases[0])
    crew.deal(backlog)
    assert crew.units() == [[0], [2]]


EVENTS = st.sampled_from(["finish", "return", "die", "lose", "join", "drain"])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.lists(st.tuples(EVENTS, st.integers(0, 9)), max_size=60))
def test_whatever_happens_every_unit_is_in_one_place_and_all_are_made(
    units: int, actors: int, events: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as folder:
        crew, backlog = begin(Path(folder), units, actors)
        done: list[int] = []
        for event, which in events + [("finish", 0)] * (units + 1):
            crew.deal(backlog)
            _check(crew, backlog, done, units)
            busy = [maker for maker in crew.ready if maker.leases]
            if event == "join" or all(maker.leaving for maker in crew.ready):
                crew.ready.append(ActorHandle(Actor(), None, 4, f"j{which}"))
            elif event == "drain":
                crew.leave({crew.ready[which % len(crew.ready)].node})
            elif not busy:
                continue
            elif event in ("die", "lose"):
                maker = busy[which % len(busy)]
                if event == "die":
                    backlog.suspect(lease.number for lease in maker.leases)
                making, behind = crew.lose(maker)
                backlog.give_back(making, *behind)
            elif event == "return":
                for lease in [one for maker in busy for one in maker.leases if one.recalled]:
                    crew.end_of(lease)
                    backlog.give_back(lease.number)
            else:
                lease = busy[which % len(busy)].leases[0]
                crew.end_of(lease)
                backlog.done(lease.number)
                done.append(lease.number)
        assert sorted(done) == list(range(units))


def _check(crew: Held, backlog: WorkQueue, done: list[int], units: int) -> None:
    held = [number for one in crew.units() for number in one]
    assert len(held) == len(set(held)) == len(crew.making)
    assert len(held) + len(backlog) + len(done) == units
    assert not set(held) & set(done)
    for maker in crew.ready:
        assert len(maker.leases) <= UNITS_PER_ACTOR
        assert not any(lease.alone for lease in maker.leases) or len(maker.leases) == 1
    free = [maker for maker in crew.idle if not maker.leaving]
    if free:
        assert not backlog, "an actor without a unit, and a unit without an actor"
        recalled = [lease for maker in crew.ready for lease in maker.leases[1:] if lease.recalled]
        assert not list(queued_assignments(crew.ready)) or len(recalled) >= len(free)


@pytest.mark.parametrize("alone", [True, False])
def test_a_unit_that_is_made_alone_has_nothing_queued_behind_it(tmp_path: Path, alone: bool) -> None:
    crew, backlog = begin(tmp_path, 3, 1)
    if alone:
        backlog.suspect([0])
    crew.deal(backlog)
    assert crew.units() == ([[0]] if alone else [[0, 1]])


class Sick(Held):
    """Actors some of which break at a unit, and fail from then on with `error`. For those in their places, `mended`."""

    def __init__(self, run: Run, breaks_at: Sequence[int | None], error: str, mended: bool) -> None:
        super().__init__(run, [f"n{number}" for number in range(len(breaks_at))])
        self._blame, self._error, self._mended = FailurePolicy(), RuntimeError(error), mended
        self._left = {maker: at for maker, at in zip(self.ready, breaks_at, strict=True) if at is not None}
        self.first_left, self.ended = dict(zip((maker.node for maker in self.ready), breaks_at, strict=True)), 0

    def turn(self, maker: ActorHandle, backlog: WorkQueue, bad: set[int]) -> int | None:
        """An actor is through with its first unit, which is given where it is finished."""
        lease = maker.leases[0]
        self.end_of(lease)
        broken = self._left.get(maker, 1) <= 0
        self._left |= {maker: self._left[maker] - 1} if maker in self._left else {}
        if not broken and lease.number not in bad:
            self._blame.finished(maker)
            backlog.done(lease.number)
            return lease.number
        error = self._error if broken else ValueError("bad")
        verdict = self._blame.failed(maker, lease.number, error, len(self))
        if verdict.ended:
            self._replace(maker, backlog)
        if verdict.charged:
            backlog.charge(lease.number, error)
        else:
            backlog.give_back(lease.number)
        return None

    def _replace(self, maker: ActorHandle, backlog: WorkQueue) -> None:
        backlog.give_back(*(lease.number for lease in maker.leases))
        self.end(maker)
        self.ended += 1
        avoided = self._blame.avoided(self.first_left)
        if maker.node not in avoided:
            self.ready.append(ActorHandle(Actor(), None, 4, maker.node))
            if not self._mended and (at := self.first_left[maker.node]) is not None:
                self._left[self.ready[-1]] = at


def work(crew: Sick, backlog: WorkQueue, bad: set[int], turns: Sequence[int], limit: int) -> list[int]:
    """Until nothing is left: the units that were finished. turns: which of the actors that have a unit is next."""
    done: list[int] = []
    for step in range(limit):
        crew.deal(backlog)
        busy = [maker for maker in crew.ready if maker.leases]
        if not busy:
            assert not backlog
            return done
        number = crew.turn(busy[turns[step % len(turns)] % len(busy)], backlog, bad)
        done += [] if number is None else [number]
    raise AssertionError(f"no end after {limit} units")


ERRORS = st.sampled_from(["CUDA error: unspecified launch failure", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"])
TURNS = st.lists(st.integers(0, 9), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=4),
    st.sets(st.integers(0, 11)),
    ERRORS,
    st.booleans(),
    TURNS,
)
def test_whatever_breaks_it_ends_and_every_bad_unit_is_given_up_by_its_own_attempts(
    units: int, breaks_at: list[int | None], bad: set[int], error: str, mended: bool, turns: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        _, backlog = begin(Path(folder), units, 0, attempts=2)
        crew = Sick(fake_run(Path(folder), units, ClusterSpec(unit_attempts=2)), breaks_at, error, mended)
        done = work(crew, backlog, bad, turns, limit=units * (2 * 2 + 1) + 1)
        given_up = {number for number in range(units) if backlog.used(number) == 2}
    assert sorted(done) == sorted(set(range(units)) - given_up)
    assert bad & set(range(units)) <= given_up


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 5), ERRORS, TURNS)
def test_a_device_that_breaks_for_once_costs_no_unit(
    units: int, sound: int, at: int, error: str, turns: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        _, backlog = begin(Path(folder), units, 0)
        crew = Sick(fake_run(Path(folder), units, ClusterSpec()), [at, *[None] * sound], error, mended=True)
        done = work(crew, backlog, set(), turns, limit=units + 3)
    assert sorted(done) == list(range(units))
    assert crew.ended <= 1


@pytest.mark.parametrize("error", ["CUDA error: no kernel image is available", "cuDNN error: x"])
def test_a_node_whose_device_never_works_is_left_as_long_as_others_work(tmp_path: Path, error: str) -> None:
    _, backlog = begin(tmp_path, 40, 0)
    crew = Sick(fake_run(tmp_path, 40, ClusterSpec()), [0, None], error, mended=False)
    assert len(work(crew, backlog, set(), [0, 1, 1], limit=80)) == 40
    assert crew.ended == 3
    assert [maker.node for maker in crew.ready] == ["n1"]


def test_where_no_unit_can_be_made_actors_are_not_replaced_for_ever(tmp_path: Path) -> None:
    _, backlog = begin(tmp_path, 40, 0)
    crew = Sick(fake_run(tmp_path, 40, ClusterSpec()), [None, None], "", mended=True)
    assert not work(crew, backlog, set(range(40)), [0, 1], limit=200)
    assert 3 <= crew.ended <= 6
    assert {backlog.used(number) for number in range(40)} == {3}


def test_what_fails_by_a_units_own_content_is_not_held_against_an_actor() -> None:
    blame, maker = FailurePolicy(), ActorHandle(None, None, 4)
    for number in range(9):
        verdict = blame.failed(maker, number, SlotFailed("ValueError: no such colour (slot 7)"), 1)
        assert (verdict.charged, verdict.ended) == (True, False)


def test_a_unit_that_failed_is_tried_by_an_actor_where_nothing_did(tmp_path: Path) -> None:
    crew, backlog = begin(tmp_path, 1, 2)
    crew.ready[0].failed = 0
    crew.deal(backlog)
    assert crew.units() == [[], [0]]
