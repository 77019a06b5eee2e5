"""Whether a unit that failed is to blame, or the actor that was making it."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from engine.cluster.assignments import ActorHandle
from engine.errors import SlotFailed
from engine.models.memory import breaks_device
from shards.errors import ShardError

_STRIKES = 3
_OF_THE_UNIT = (SlotFailed, ShardError)
"""Errors of the host with a unit's own content or files, which no other actor would be spared."""


@dataclass(frozen=True)
class FailureVerdict:
    """charged: whether the unit's attempt is used up. ended: whether the actor makes nothing more."""

    charged: bool
    ended: bool


class FailurePolicy:
    """What failed where since something was finished there.

    After an illegal access or a fault of the hardware each further call of that process fails within milliseconds: were
    all of that charged to units, one device would use up a run. So an actor is ended where its error says that it will
    not recover, and at the second failure in a row, which is not charged to another unit than the first one was. What
    is not charged thus ends an actor that has charged, and the run ends. As long as no actor finishes anything, three
    ended ones for each that there is are enough: then it is the units, which need no further actors to fail on.
    """

    def __init__(self) -> None:
        self._ended = 0
        self._strikes: Counter[str] = Counter()

    def finished(self, maker: ActorHandle) -> None:
        """An actor finished a unit."""
        if not maker.proven:  # later ones say nothing of those that were started there since
            del self._strikes[maker.node]
        maker.proven, maker.failed, self._ended = True, None, 0

    def failed(self, maker: ActorHandle, number: int, error: BaseException, actors: int) -> FailureVerdict:
        """A unit raised this. actors: that there are."""
        if isinstance(error, _OF_THE_UNIT):
            return FailureVerdict(charged=True, ended=False)
        broken, before, maker.failed = breaks_device(error), maker.failed, number
        if (before is None and not broken) or self._ended >= _STRIKES * actors:
            return FailureVerdict(charged=True, ended=False)
        self._ended += 1
        self._strikes[maker.node] += not maker.proven
        return FailureVerdict(charged=before in (None, number), ended=True)

    def avoided(self, nodes: Collection[str]) -> frozenset[str]:
        """Those of these nodes where three actors in a row were ended before they finished anything; none if that is
        all of them, for then it may be the units."""
        found = frozenset(node for node in nodes if self._strikes[node] >= _STRIKES)
        return found if found != set(nodes) else frozenset()
