"""Model-load failures by node: which nodes get no further actor, and when the run gives up."""

import time
from collections import Counter
from collections.abc import Callable, Collection

from ray.exceptions import RayActorError, RayError, RayTaskError

from engine.cluster.ray_errors import brief, cause_of
from engine.errors import ModelError
from shards.errors import ShardmillError

_MAX_FAILURES = 3


class NodeHealth:
    """A record of model-load failures by node. After three failures in a row, a node gets no further actor.

    The node id "" stands for the node of a process that died before it could name its node.
    wait_for_node_s: how long to wait for a new node, if the model was loaded once and every present node fails.
    """

    def __init__(self, wait_for_node_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_for_node_s, self._clock = wait_for_node_s, clock
        self._failures: Counter[str] = Counter()
        self._nodes_with_error: set[str] = set()
        self._excluded: set[str] = set()
        self._last_error: RayError = RayError()
        self._has_loaded = False
        self._failing_since: float | None = None

    def record_success(self, node: str) -> None:
        """Record that the model was loaded on a node."""
        self._has_loaded = True
        self._nodes_with_error.discard(node)
        del self._failures[node], self._failures[""]

    def record_failure(self, node: str, error: RayError) -> None:
        """Record that the model could not be loaded on a node."""
        self._failures[node] += 1
        self._last_error = error
        # A process that was killed while it loaded says nothing about the model: only an exception does.
        if isinstance(error, RayTaskError) or (isinstance(error, RayActorError) and error.actor_init_failed):
            self._nodes_with_error.add(node)

    def exclude(self, node: str, error: RayError) -> None:
        """Start no further actor on a node, even if the model loads there."""
        self._excluded.add(node)
        self._last_error = error

    @property
    def avoided_nodes(self) -> frozenset[str]:
        """The nodes that get no further actor."""
        failing = (node for node, count in self._failures.items() if node and count >= _MAX_FAILURES)
        return frozenset(self._excluded.union(failing))

    def should_give_up(self, nodes: Collection[str], any_actor_ready: bool) -> bool:
        """Return whether the run must end, because no usable node can load the model.

        If the model was never loaded, an exception on each node, or on three of them, is enough.
        """
        with_error = self._nodes_with_error & {*nodes, ""}
        if nodes and not self._has_loaded and len(with_error) >= min(_MAX_FAILURES, len(nodes)):
            return True
        if any_actor_ready or not self._fails_everywhere(nodes):
            self._failing_since = None
            return False
        self._failing_since = self._failing_since or self._clock()
        return not self._has_loaded or self._clock() - self._failing_since >= self._wait_for_node_s

    def error(self) -> ShardmillError:
        """Return the last error, as one for the user."""
        cause = cause_of(self._last_error)
        return cause if isinstance(cause, ShardmillError) else ModelError(brief(self._last_error))

    def _fails_everywhere(self, nodes: Collection[str]) -> bool:
        unknown_node = self._failures[""] >= _MAX_FAILURES * len(nodes)
        return bool(nodes) and (set(nodes) <= self.avoided_nodes or unknown_node)
