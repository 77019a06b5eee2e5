"""The nodes of the cluster, as far as actors depend on them."""

import time
from collections.abc import Collection, Mapping

import ray

from engine.config.cluster_spec import ClusterSpec

_SECONDS = 1.0
_ACCELERATOR = "accelerator_type:"
_ANY_SHARE = 0.001
"""What Ray itself asks for of the resource that marks a kind of GPU, of which a node has 1."""


class Nodes:
    """What is known of the nodes, a second old at most.

    live:     how many actors each node could hold by its resources, by node id; those of no use are left out.
    draining: ids of the nodes that will end soon, by an interruption notice or for being idle.
    """

    def __init__(self, cluster: ClusterSpec) -> None:
        self._cluster = cluster
        self._looked = float("-inf")
        self.live: dict[str, int] = {}
        self.draining: frozenset[str] = frozenset()

    def look(self) -> None:
        """Ask Ray, unless that was done within the last second."""
        if time.monotonic() - self._looked >= _SECONDS:
            self.look_now()

    def look_now(self) -> None:
        """Ask Ray."""
        self._looked = time.monotonic()
        found = {one["NodeID"]: holds(one["Resources"], self._cluster) for one in ray.nodes() if one["Alive"]}
        self.live = {node: room for node, room in found.items() if room}
        self.draining = _draining()

    @property
    def usable(self) -> dict[str, int]:
        """Those of the live nodes that stay."""
        return {node: room for node, room in self.live.items() if node not in self.draining}

    def actors_wanted(self, avoided: Collection[str] = ()) -> int:
        """How many actors the run should have: as many as these nodes hold, but for those avoided, within the spec's
        bounds. Where it sets a maximum that many: actors that wait are what an autoscaler looks at."""
        room = sum(room for node, room in self.usable.items() if node not in avoided)
        return max(self._cluster.min_actors, room) if self._cluster.max_actors is None else self._cluster.max_actors


def holds(resources: Mapping[str, float], cluster: ClusterSpec) -> int:
    """How many actors these resources hold at once."""
    room = int(resources.get("CPU", 0) // cluster.cpus_per_actor)
    gpus, each = resources.get("GPU", 0), cluster.gpus_per_actor
    if each > 0:
        # No actor gets parts of two GPUs.
        room = min(room, int(gpus) * int(1 / each) if each < 1 else int(gpus // each))
    if cluster.accelerator_type is not None and resources.get(_ACCELERATOR + cluster.accelerator_type, 0) < _ANY_SHARE:
        return 0
    return room


def accelerator_types() -> set[str]:
    """The kinds of GPUs that the cluster has now."""
    return {name.removeprefix(_ACCELERATOR) for name in ray.cluster_resources() if name.startswith(_ACCELERATOR)}


def _draining() -> frozenset[str]:
    """Ids of the nodes that drain. The call is private to Ray, whose own trainer uses it: a version without it goes on
    without the warning, and loses what a node was making when that ends."""
    try:
        return frozenset(ray._private.state.state.get_draining_nodes())
    except AttributeError:
        return frozenset()
