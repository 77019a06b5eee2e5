"""The nodes of the cluster, and how many actors fit on each."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress

import ray

from engine.config.cluster_spec import ClusterSpec

_ACCELERATOR_PREFIX = "accelerator_type:"
# An actor with accelerator_type asks Ray for 0.001 of the resource that marks the kind of GPU; a node has 1.
_ACCELERATOR_SHARE = 0.001


class Nodes:
    """The state of the nodes, at most a second old.

    capacity: how many actors each live node can hold, by node id. Nodes that can hold none are left out.
    draining: ids of the nodes that will end soon, because of an interruption notice or because they are idle.
    """

    def __init__(self, cluster: ClusterSpec) -> None:
        self._cluster = cluster
        self._refreshed_at = float("-inf")
        self.capacity: dict[str, int] = {}
        self.draining: frozenset[str] = frozenset()

    def refresh(self, max_age_s: float = 1.0) -> None:
        """Ask Ray for the state, unless that was done within the last `max_age_s` seconds."""
        if time.monotonic() - self._refreshed_at < max_age_s:
            return
        self._refreshed_at = time.monotonic()
        alive = [node for node in ray.nodes() if node["Alive"]]
        capacity = {node["NodeID"]: actors_that_fit(node["Resources"], self._cluster) for node in alive}
        self.capacity = {node: count for node, count in capacity.items() if count}
        # Ray has no public call for this; Ray Train uses the same private one. A Ray version without it gives no
        # warning before a node ends, and the run loses the units in flight there.
        with suppress(AttributeError):
            self.draining = frozenset(ray._private.state.state.get_draining_nodes())

    @property
    def usable(self) -> dict[str, int]:
        """The capacity of the live nodes that do not drain."""
        return {node: count for node, count in self.capacity.items() if node not in self.draining}

    def target_actors(self, avoided: Collection[str] = ()) -> int:
        """Return how many actors the run should have: `max_actors`, or those that fit, but at least `min_actors`."""
        if self._cluster.max_actors is not None:
            return self._cluster.max_actors  # actors that fit on no node make an autoscaler start more
        capacity = sum(count for node, count in self.usable.items() if node not in avoided)
        return max(self._cluster.min_actors, capacity)


def actors_that_fit(resources: Mapping[str, float], cluster: ClusterSpec) -> int:
    """Return how many actors these resources of a node hold at once."""
    by_cpu = int(resources.get("CPU", 0) // cluster.cpus_per_actor)
    gpus, per_actor = resources.get("GPU", 0), cluster.gpus_per_actor
    accelerator = cluster.accelerator_type
    if accelerator is not None and resources.get(_ACCELERATOR_PREFIX + accelerator, 0) < _ACCELERATOR_SHARE:
        return 0
    if per_actor == 0:
        return by_cpu
    # Ray never gives an actor parts of two GPUs.
    return min(by_cpu, int(gpus) * int(1 / per_actor) if per_actor < 1 else int(gpus // per_actor))


def accelerator_types() -> set[str]:
    """Return the kinds of GPUs that the cluster has now."""
    names = ray.cluster_resources()
    return {name.removeprefix(_ACCELERATOR_PREFIX) for name in names if name.startswith(_ACCELERATOR_PREFIX)}
