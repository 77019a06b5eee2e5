"""Joining a running Ray cluster, or starting one on this machine."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from engine.errors import SpecError
from engine.spec.cluster import ClusterSpec


@contextmanager
def ray_session(cluster: ClusterSpec) -> Iterator[None]:
    """Connected to Ray within the block: to RAY_ADDRESS if that is set (as it is within a Ray job), else to a cluster
    that is started here for this process alone, with room for `min_actors` actors."""
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    else:
        # "local", because a stale address file of another cluster misleads a bare init.
        cpus = max(os.cpu_count() or 1, cluster.min_actors * cluster.cpus_per_actor)
        ray.init(
            address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
        )
    try:
        if not address:
            _check_gpus(cluster)
        yield
    finally:
        ray.shutdown()


def _check_gpus(cluster: ClusterSpec) -> None:
    """This machine alone will get no GPUs by waiting, as an autoscaling cluster may."""
    have = ray.cluster_resources().get("GPU", 0)
    if have < cluster.gpus_per_actor:
        raise SpecError(
            f"cluster.gpus_per_actor is {cluster.gpus_per_actor:g}, and this machine has {have:g} GPUs; set it to 0 to "
            "compute on the CPU, or RAY_ADDRESS to join a cluster"
        )


def room_for_actors(cluster: ClusterSpec) -> int:
    """How many actors the cluster's present nodes can hold at once; at least `min_actors`, at most `max_actors`."""
    have = ray.cluster_resources()
    room = int(have.get("CPU", 0) // cluster.cpus_per_actor)
    if cluster.gpus_per_actor > 0:
        room = min(room, int(have.get("GPU", 0) / cluster.gpus_per_actor))
    if cluster.max_actors is not None:
        # More than there is room for is wanted as well: actors that wait are what an autoscaler looks at.
        room = cluster.max_actors
    return max(cluster.min_actors, room)
