"""Where the model could be loaded, and where not, or for nothing."""

import time
from collections import Counter
from collections.abc import Callable, Collection

from ray.exceptions import RayActorError, RayError, RayTaskError

from engine.cluster.ray_errors import brief, cause_of
from engine.errors import ModelError
from shards.errors import ShardmillError

_STRIKES = 3


class NodeHealth:
    """Attempts to load the model, by node. After three failures in a row a node is given no further actor.

    patience_s: how long to wait for a new node, once the model has been loaded on one.
    Nodes are named by their ids; "" is that of a process that ended before it could say where it was.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience_s, clock
        self._strikes: Counter[str] = Counter()
        self._refusing: set[str] = set()
        self._shunned: set[str] = set()
        self._last: RayError = RayError()
        self._succeeded = False
        self._stuck_since: float | None = None

    def succeeded(self, node: str) -> None:
        """It was loaded there."""
        self._succeeded = True
        self._refusing.discard(node)
        del self._strikes[node], self._strikes[""]

    def failed(self, node: str, error: RayError) -> None:
        """It could not be loaded there."""
        self._strikes[node] += 1
        self._last = error
        # A process that was killed while it loaded may have met with an accident.
        if isinstance(error, RayTaskError) or (isinstance(error, RayActorError) and error.actor_init_failed):
            self._refusing.add(node)

    def shun(self, node: str, error: RayError) -> None:
        """Nothing can be stored from there, wherever it is loaded."""
        self._shunned.add(node)
        self._last = error

    @property
    def avoided(self) -> frozenset[str]:
        """The nodes that are given no further actor."""
        return frozenset(self._shunned.union(node for node, n in self._strikes.items() if node and n >= _STRIKES))

    def hopeless(self, nodes: Collection[str], working: bool) -> bool:
        """Whether to give up: no node is left to try it on. working: whether an actor has it loaded.

        Where it was never loaded, an error on each of the nodes is enough, or on three of them.
        """
        refusing = self._refusing & {*nodes, ""}
        if nodes and not self._succeeded and len(refusing) >= min(_STRIKES, len(nodes)):
            return True
        if working or not self._fails_everywhere(nodes):
            self._stuck_since = None
            return False
        self._stuck_since = self._stuck_since or self._clock()
        return not self._succeeded or self._clock() - self._stuck_since >= self._patience

    def error(self) -> ShardmillError:
        """What it failed with at last."""
        cause = cause_of(self._last)
        return cause if isinstance(cause, ShardmillError) else ModelError(brief(self._last))

    def _fails_everywhere(self, nodes: Collection[str]) -> bool:
        return bool(nodes) and (set(nodes) <= self.avoided or self._strikes[""] >= _STRIKES * len(nodes))
