"""The assignment of units to actors that may hold two each: queueing, cancelling and returning units."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cluster.assignments import UNITS_PER_ACTOR, queued_assignments
from engine.cluster.work_queue import WorkQueue
from tests.engine.cluster.fake_pool import FakePool, begin


def test_every_actor_gets_one_unit_before_any_gets_two(tmp_path: Path) -> None:
    pool, queue = begin(tmp_path, 9, 3)
    for expected in ([[0, 3], [1, 4], [2, 5]], [[3, 6], [1, 4], [2, 5]]):
        pool.assign(queue)
        assert pool.units() == expected
        pool.end(pool.ready[0].assignments[0])
    pool, queue = begin(tmp_path / "few", 4, 3)
    pool.assign(queue)
    assert pool.units() == [[0, 3], [1], [2]]


def test_a_queued_unit_moves_to_an_idle_actor(tmp_path: Path) -> None:
    pool, queue = begin(tmp_path, 4, 2)
    pool.assign(queue)
    slow, fast = pool.ready
    pool.end(fast.assignments[0])
    pool.end(fast.assignments[0])
    for _ in range(2):  # the unit is cancelled once
        pool.assign(queue)
    assert slow.ray_actor.cancel_unit.calls == [2]
    pool.end(slow.assignments[1])
    queue.put_back(2)
    pool.assign(queue)
    assert pool.units() == [[0], [2]]


def test_cancelling_concerns_queued_units_only(tmp_path: Path) -> None:
    pool, queue = begin(tmp_path, 9, 3)
    pool.assign(queue)
    pool.cancel_queued()
    assert [actor.ray_actor.cancel_unit.calls for actor in pool.ready] == [[3], [4], [5]]


def test_a_draining_node_gets_no_unit_and_returns_queued_ones(tmp_path: Path) -> None:
    pool, queue = begin(tmp_path, 9, 2)
    pool.assign(queue)
    leaving = pool.ready[0]
    pool.drain({"n0"})
    assert leaving.ray_actor.cancel_unit.calls == [2]
    pool.end(leaving.assignments[1])
    queue.put_back(2)
    pool.assign(queue)
    assert pool.units() == [[0], [1, 3]]
    pool.end(leaving.assignments[0])
    pool.drain({"n0"})
    assert pool.units() == [[1, 3]]


def test_the_units_of_a_dead_process_run_alone(tmp_path: Path) -> None:
    pool, queue = begin(tmp_path, 5, 2)
    pool.assign(queue)
    running, *queued = pool.kill(pool.ready[0])
    queue.isolate([running, *queued])
    queue.put_back(*queued)
    queue.retry(running, ValueError("it died"))
    assert [queue.attempts_used(number) for number in range(5)] == [1, 0, 0, 0, 0]
    pool.assign(queue)
    assert pool.units() == [[1, 3]], "the first waiting unit needs an idle actor and holds up the others"
    pool.add("n2")
    pool.assign(queue)
    assert pool.units() == [[1, 3], [2]]
    for _ in range(2):
        pool.end(pool.ready[0].assignments[0])
    pool.assign(queue)
    assert pool.units() == [[4], [2]], "the charged unit comes last, and runs alone too"
    pool.end(pool.ready[0].assignments[0])
    pool.assign(queue)
    assert pool.units() == [[0], [2]]


EVENTS = st.sampled_from(["finish", "return", "die", "lose", "join", "drain"])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.lists(st.tuples(EVENTS, st.integers(0, 9)), max_size=60))
def test_every_unit_is_in_one_place_and_all_get_done(units: int, actors: int, events: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        pool, queue = begin(Path(folder), units, actors)
        done: list[int] = []
        for event, which in events + [("finish", 0)] * (units + 1):
            pool.assign(queue)
            _check(pool, queue, done, units)
            busy = [actor for actor in pool.ready if actor.assignments]
            if event == "join" or all(actor.draining for actor in pool.ready):
                pool.add(f"j{which}")
            elif event == "drain":
                pool.drain({pool.ready[which % len(pool.ready)].node})
            elif not busy:
                continue
            elif event in ("die", "lose"):
                lost = pool.kill(busy[which % len(busy)])
                if event == "die":
                    queue.isolate(lost)
                queue.put_back(*lost)
            elif event == "return":
                for item in [item for actor in busy for item in actor.assignments if item.cancelled]:
                    pool.end(item)
                    queue.put_back(item.unit_number)
            else:
                item = busy[which % len(busy)].assignments[0]
                pool.end(item)
                queue.mark_done(item.unit_number)
                done.append(item.unit_number)
        assert sorted(done) == list(range(units))


def _check(pool: FakePool, queue: WorkQueue, done: list[int], units: int) -> None:
    assigned = [number for numbers in pool.units() for number in numbers]
    assert len(assigned) == len(set(assigned)) == len(pool.running)
    assert len(assigned) + len(queue) + len(done) == units
    assert not set(assigned) & set(done)
    for actor in pool.ready:
        assert len(actor.assignments) <= UNITS_PER_ACTOR
        assert not any(item.exclusive for item in actor.assignments) or len(actor.assignments) == 1
    idle = [actor for actor in pool.idle if not actor.draining]
    if idle:
        assert not queue, "one actor has no unit, and one unit has no actor"
        cancelled = [item for actor in pool.ready for item in actor.assignments[1:] if item.cancelled]
        assert not list(queued_assignments(pool.ready)) or len(cancelled) >= len(idle)


@pytest.mark.parametrize("isolated", [True, False])
def test_nothing_is_queued_behind_an_isolated_unit(tmp_path: Path, isolated: bool) -> None:
    pool, queue = begin(tmp_path, 3, 1)
    if isolated:
        queue.isolate([0])
    pool.assign(queue)
    assert pool.units() == ([[0]] if isolated else [[0, 1]])


def test_a_failed_unit_goes_to_an_actor_without_failures(tmp_path: Path) -> None:
    pool, queue = begin(tmp_path, 1, 2)
    pool.ready[0].last_failed_unit = 0
    pool.assign(queue)
    assert pool.units() == [[], [0]]
