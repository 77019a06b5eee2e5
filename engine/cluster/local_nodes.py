"""The Ray nodes of this machine, as their cluster knows them."""

import socket
import time
from collections.abc import Callable

from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.exceptions import RayError

from shards.errors import ShardmillError
from shards.storage.retries import first_line

_CALL_S = 10.0
_REGISTERS_S = 300.0
_AGAIN_S = 1.0
_REMEDY = "start Ray on this machine first, or set RAY_ADDRESS"


class NotInCluster(ShardmillError):
    """No Ray node of this machine can be found."""


class LocalNodes:
    """The live Ray nodes with an address of this machine: usually one.

    Ray has no public call that drains a node: those here are of its own autoscaler and of `ray start --block`.

    only: id of the node to look at, where several share the machine and not all of them go.
    """

    def __init__(self, only: str | None = None) -> None:
        self._only = only
        try:
            # RAY_ADDRESS, else what the last `ray start` here joined.
            self.cluster = canonicalize_bootstrap_address_or_die("auto")
            self._gcs = GcsClient(address=self.cluster)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise NotInCluster(f"no Ray cluster: {first_line(error).rstrip('.')}; {_REMEDY}") from None

    def await_nodes(self) -> list[str]:
        """Their ids, once there is one: a node that just started registers some seconds later. Raises NotInCluster."""
        return self._keep_trying(self._nodes, time.time() + _REGISTERS_S)

    def drain(self, reason: str, deadline: float) -> list[str]:
        """Have the cluster give them no more work, as they end at `deadline` (Unix time in seconds); gives their ids.

        Tried until then, where the cluster does not answer. Raises NotInCluster.
        """
        return self._keep_trying(lambda: [self._drain(node, reason, deadline) for node in self._nodes()], deadline)

    def _nodes(self) -> list[str]:
        alive = self._gcs.get_all_node_info(timeout=_CALL_S, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
        here = [node.hex() for node, info in alive.items() if _is_ours(info.node_manager_address)]
        return here if self._only is None else [node for node in here if node == self._only]

    def _drain(self, node: str, reason: str, deadline: float) -> str:
        why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # which, other than idleness, is never refused
        self._gcs.drain_node(node, why, reason, int(1000 * deadline), timeout=_CALL_S)
        return node

    def _keep_trying(self, act: Callable[[], list[str]], until: float) -> list[str]:
        """What `act` gives, once that is something."""
        while True:
            problem = "none of its nodes has an address of this machine"
            try:
                if found := act():
                    return found
            except RayError as error:
                problem = _said(error)
            if time.time() >= until:
                raise NotInCluster(f"Ray cluster {self.cluster}: {problem}; {_REMEDY}")
            time.sleep(_AGAIN_S)


def _is_ours(address: str) -> bool:
    """Whether an IP address is one of this machine's, or of this pod's: only to such a one can a socket be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _said(error: BaseException) -> str:
    return first_line(error).rstrip(".")
