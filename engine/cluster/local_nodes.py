"""The Ray nodes of this machine, and draining them."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.exceptions import RayError

from shards.errors import ShardmillError
from shards.storage.retries import first_line

_CALL_TIMEOUT_S = 10.0
_REGISTRATION_TIMEOUT_S = 300.0
_RETRY_S = 1.0
_REMEDY = "start Ray on this machine first, or set RAY_ADDRESS"


class NotInCluster(ShardmillError):
    """No Ray node of this machine can be found."""


class LocalNodes:
    """The live Ray nodes with an address of this machine. only: the id of the node to consider; None for all."""

    # Ray has no public call that drains a node. These are the calls of its autoscaler and of `ray start --block`.

    def __init__(self, only: str | None = None) -> None:
        self._only = only
        try:
            # RAY_ADDRESS, or else the cluster that the last `ray start` on this machine joined.
            self.cluster = canonicalize_bootstrap_address_or_die("auto")
            self._gcs = GcsClient(address=self.cluster)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise NotInCluster(f"no Ray cluster: {first_line(error).rstrip('.')}; {_REMEDY}") from None

    def wait_for_nodes(self) -> list[str]:
        """Return the ids of the nodes as soon as there is one. Raises NotInCluster."""
        # A node that was just started registers some seconds later.
        return self._retry_until(time.time() + _REGISTRATION_TIMEOUT_S, self._node_ids)

    def drain(self, reason: str, deadline: float) -> list[str]:
        """Make the cluster assign no more work to the nodes; return their ids. Raises NotInCluster.

        deadline: when the nodes end, in seconds of Unix time; until then the call is retried.
        """
        return self._retry_until(deadline, lambda: [self._drain(node, reason, deadline) for node in self._node_ids()])

    def _node_ids(self) -> list[str]:
        alive = self._gcs.get_all_node_info(timeout=_CALL_TIMEOUT_S, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
        local = [node.hex() for node, info in alive.items() if _is_local(info.node_manager_address)]
        return local if self._only is None else [node for node in local if node == self._only]

    def _drain(self, node: str, message: str, deadline: float) -> str:
        # Ray may refuse to drain a node for idleness, and never refuses a preemption.
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        self._gcs.drain_node(node, reason, message, int(1000 * deadline), timeout=_CALL_TIMEOUT_S)
        return node

    def _retry_until(self, deadline: float, call: Callable[[], list[str]]) -> list[str]:
        """Return the first result of `call` that is not empty."""
        while True:
            problem = "none of its nodes has an address of this machine"
            try:
                if nodes := call():
                    return nodes
            except RayError as error:
                problem = first_line(error).rstrip(".")
            if time.time() >= deadline:
                raise NotInCluster(f"Ray cluster {self.cluster}: {problem}; {_REMEDY}")
            time.sleep(_RETRY_S)


def _is_local(address: str) -> bool:
    """Return whether an IP address belongs to this machine or pod."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind((address, 0))  # a socket can be bound to local addresses only
        return True
    return False
