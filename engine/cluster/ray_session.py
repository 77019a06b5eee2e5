"""Joining a running Ray cluster, or starting one on this machine."""

import difflib
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.accelerators import accelerators

from engine.cluster.cluster_security import check_cluster
from engine.cluster.nodes import accelerator_types
from engine.config.cluster_spec import ClusterSpec
from engine.errors import SpecError


@contextmanager
def ray_session(cluster: ClusterSpec) -> Iterator[None]:
    """Connect to Ray within the block; a session within another one uses the same connection.

    Joins the cluster of RAY_ADDRESS if that is set, as it is within a Ray job. Else starts a cluster on this machine
    for this process alone, with room for `min_actors` actors.

    Raises SpecError if the cluster will never hold an actor, or must not be trusted with one.
    """
    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    context = _connect(cluster)
    signal.signal(signal.SIGTERM, handler)  # ray.init replaces the handler; Ray's one exits with code 15
    try:
        _check_gpus(cluster)
        _check_accelerator(cluster)
        if joins_cluster() and not cluster.trusted:
            check_cluster(context.dashboard_url, ray.get_runtime_context().runtime_env.get("env_vars") or {})
        yield
    finally:
        ray.shutdown()


def joins_cluster() -> bool:
    """Return whether sessions join a running cluster. Such a cluster may get more nodes; a local one never does."""
    return bool(os.environ.get("RAY_ADDRESS"))


def _connect(cluster: ClusterSpec) -> Any:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if joins_cluster():
        return ray.init(address=os.environ["RAY_ADDRESS"], **quiet)
    cpus = max(os.cpu_count() or 1, cluster.min_actors * cluster.cpus_per_actor)
    # "local", because without an address a stale address file of another cluster misleads ray.init.
    return ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)


def _check_gpus(cluster: ClusterSpec) -> None:
    gpus = ray.cluster_resources().get("GPU", 0)
    if not joins_cluster() and gpus < cluster.gpus_per_actor:
        raise SpecError(
            f"cluster.gpus_per_actor is {cluster.gpus_per_actor:g}, but this machine has {gpus:g} GPUs; set it to 0 to "
            "compute on the CPU, or set RAY_ADDRESS to join a cluster"
        )


def _check_accelerator(cluster: ClusterSpec) -> None:
    """Raise SpecError for a kind of GPU that is not there. In a cluster, a kind that Ray knows may come later."""
    wanted, present = cluster.accelerator_type, accelerator_types()
    known = {name for constant, name in vars(accelerators).items() if constant.isupper()}
    if wanted is None or wanted in present or (joins_cluster() and wanted in known):
        return
    by_lower_case = {name.lower(): name for name in sorted(known | present)}
    matches = [by_lower_case[name] for name in difflib.get_close_matches(wanted.lower(), by_lower_case, n=1)]
    advice = f"did you mean {matches[0]!r}?" if matches and matches[0] != wanted else "see `ray list nodes`"
    raise SpecError(
        f"cluster.accelerator_type: no node has {wanted!r}; present: {', '.join(sorted(present)) or 'none'}; {advice}"
    )
