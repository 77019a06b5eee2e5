"""Actors as the driver sees them, and the units that are assigned to each."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# One unit has the device; the other one is queued or is being published. The device waits for neither driver nor store.
UNITS_PER_ACTOR = 2


@dataclass(slots=True, eq=False)
class ActorHandle:
    """An actor as the driver sees it."""

    ray_actor: Any
    node_ref: Any  # the pending Ray call that returns the id of the actor's node
    batch_size: int  # of the last unit that the actor finished
    node: str = ""  # the node's id; "" while the actor waits for a node or starts
    assignments: "list[Assignment]" = field(default_factory=list)  # in the order in which the actor runs them
    draining: bool = False  # the actor gets no further unit
    has_finished_unit: bool = False
    last_failed_unit: int | None = None  # None if a unit has finished since

    def remove(self, assignment: "Assignment", now: float) -> None:
        """Remove a unit. If it was the running one, the next unit counts as started now."""
        was_running = self.assignments[0] is assignment
        self.assignments.remove(assignment)
        if was_running and self.assignments:
            self.assignments[0].started_at = now


@dataclass(slots=True, eq=False)
class Assignment:
    """A unit that is assigned to an actor. started_at: when it began, or was assigned, by `time.monotonic`."""

    actor: ActorHandle
    unit_number: int
    started_at: float
    exclusive: bool = False  # the actor gets no other unit meanwhile
    cancelled: bool = False  # the actor was asked to return the unit unless it has begun it


class FreeCapacity:
    """The actors that can take a unit. It is built once for a round of assignments, not once for each unit."""

    def __init__(self, actors: Iterable[ActorHandle]) -> None:
        available = [actor for actor in actors if not actor.draining]
        idle = (actor for actor in available if not actor.assignments)
        # A unit should be retried by another actor, so the idle actors where a unit failed come last.
        self._idle = deque(sorted(idle, key=lambda actor: actor.last_failed_unit is not None))
        busy = (actor for actor in available if 0 < len(actor.assignments) < UNITS_PER_ACTOR)
        self._busy = deque(actor for actor in busy if not actor.assignments[0].exclusive)

    def take(self, exclusive: bool) -> ActorHandle | None:
        """Return an actor for a unit, or None: an idle one, or a busy one with room unless the unit is exclusive."""
        if self._idle:
            actor = self._idle.popleft()
            if not exclusive:
                self._busy.append(actor)
            return actor
        return None if exclusive or not self._busy else self._busy.popleft()


def queued_assignments(actors: Iterable[ActorHandle]) -> Iterator[Assignment]:
    """Yield the units that wait behind another unit of their actor and are not cancelled yet."""
    return (item for actor in actors for item in actor.assignments[1:] if not item.cancelled)


def overdue_assignments(actors: Iterable[ActorHandle], now: float, timeout_s: float) -> list[Assignment]:
    """Return the running units that started more than `timeout_s` seconds ago. Queued units are never overdue."""
    running = [actor.assignments[0] for actor in actors if actor.assignments]
    return [assignment for assignment in running if now - assignment.started_at > timeout_s]
