"""Which actor makes which unit: one that each is making, and one queued behind it, so that no device waits for the
driver or for the storage of the unit before."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

DEPTH = 2
"""Units that an actor may have: one on the device, and one before or behind it."""


@dataclass(slots=True, eq=False)
class ActorHandle:
    """An actor.

    placed:     what will tell its node; node: that id, "" as long as it waits for a node or is starting.
    batch_size: of the last unit that it made.
    leases:     its units in the order in which it makes them.
    leaving:    whether it gets no further unit.
    proven:     whether it has finished a unit; failed: the one that failed last, if none was finished since.
    """

    actor: Any
    placed: Any
    batch_size: int
    node: str = ""
    leases: "list[Assignment]" = field(default_factory=list)
    leaving: bool = False
    proven: bool = False
    failed: int | None = None


@dataclass(slots=True, eq=False)
class Assignment:
    """A unit in the hands of an actor.

    since:    when the actor turned to it, by the driver's monotonic clock in seconds; at the earliest, if queued.
    alone:    whether nothing may be queued behind it.
    recalled: whether the actor was asked to give it back if it has not begun.
    """

    maker: ActorHandle
    number: int
    since: float
    alone: bool = False
    recalled: bool = False


class Openings:
    """Actors that can take a unit, each as often as it has room: those without a unit first, and of these last the ones
    where something failed, which is to be tried elsewhere. All are looked through once for all the units that they
    take, not for each."""

    def __init__(self, makers: Iterable[ActorHandle]) -> None:
        staying = [maker for maker in makers if not maker.leaving]
        idle = (maker for maker in staying if not maker.leases)
        self._idle = deque(sorted(idle, key=lambda maker: maker.failed is not None))
        self._room = deque(maker for maker in staying if 0 < len(maker.leases) < DEPTH and not maker.leases[0].alone)

    def take(self, alone: bool) -> ActorHandle | None:
        """The actor for the next unit, if any. alone: whether it must be the only one there."""
        if self._idle:
            maker = self._idle.popleft()
            if not alone:
                self._room.append(maker)
            return maker
        return None if alone or not self._room else self._room.popleft()


def queued(makers: Iterable[ActorHandle]) -> Iterator[Assignment]:
    """Units behind others, which were not recalled yet."""
    return (lease for maker in makers for lease in maker.leases[1:] if not lease.recalled)


def late(makers: Iterable[ActorHandle], now: float, allowed: float) -> list[Assignment]:
    """Units that their actors turned to more than `allowed` seconds ago. A queued one cannot be late."""
    return [maker.leases[0] for maker in makers if maker.leases and now - maker.leases[0].since > allowed]


def settle(lease: Assignment, now: float) -> None:
    """An actor has a unit no more, and turns to the next: it may have done so earlier, but it had both until now."""
    leases = lease.maker.leases
    first = leases[0] is lease
    leases.remove(lease)
    if first and leases:
        leases[0].since = now
