"""The timing of units that an actor has."""

from engine.cluster.assignments import ActorHandle, Assignment, overdue_assignments


def test_a_unit_is_timed_from_when_its_actor_started_it() -> None:
    actor = ActorHandle(None, None, 4)
    actor.assignments = [Assignment(actor, 7, started_at=100.0), Assignment(actor, 8, started_at=101.0)]
    first, second = actor.assignments
    assert overdue_assignments([actor], 200.0, 100.0) == []
    assert overdue_assignments([actor], 200.1, 100.0) == [first]
    actor.remove(first, 190.0)
    assert overdue_assignments([actor], 289.0, 100.0) == []
    assert overdue_assignments([actor], 291.0, 100.0) == [second]
    actor.assignments.append(Assignment(actor, 9, started_at=200.0))
    actor.remove(actor.assignments[1], 285.0)  # a cancelled unit does not restart the clock of the running one
    assert overdue_assignments([actor], 291.0, 100.0) == [second]
