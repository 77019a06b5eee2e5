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
    """Connected to Ray within the block: to RAY_ADDRESS if that is set (as it is within a Ray job), else to a cluster
    that is started here for this process alone, with room for `min_actors` actors. Raises SpecError where that cluster
    will never hold an actor, or must not be trusted with one. Within a session, another is the same."""
    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    context = _connect(cluster)
    signal.signal(signal.SIGTERM, handler)  # that of ray.init makes an exit code of 15 of it
    try:
        _check_gpus(cluster)
        _check_accelerator(cluster)
        if joins_cluster() and not cluster.trusted:
            check_cluster(context.dashboard_url, ray.get_runtime_context().runtime_env.get("env_vars") or {})
        yield
    finally:
        ray.shutdown()


def joins_cluster() -> bool:
    """Whether a session joins a cluster, which may yet get nodes; that of this process alone does not."""
    return bool(os.environ.get("RAY_ADDRESS"))


def _connect(cluster: ClusterSpec) -> Any:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if joins_cluster():
        return ray.init(address=os.environ["RAY_ADDRESS"], **quiet)
    # "local", because a stale address file of another cluster misleads a bare init.
    cpus = max(os.cpu_count() or 1, cluster.min_actors * cluster.cpus_per_actor)
    return ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)


def _check_gpus(cluster: ClusterSpec) -> None:
    """This machine alone will get no GPUs by waiting, as an autoscaling cluster may."""
    have = ray.cluster_resources().get("GPU", 0)
    if not joins_cluster() and have < cluster.gpus_per_actor:
        raise SpecError(
            f"cluster.gpus_per_actor is {cluster.gpus_per_actor:g}, and this machine has {have:g} GPUs; set it to 0 to "
            "compute on the CPU, or RAY_ADDRESS to join a cluster"
        )


def _check_accelerator(cluster: ClusterSpec) -> None:
    """A kind that is not there may come with a new node, if it is one at all."""
    wanted, have = cluster.accelerator_type, accelerator_types()
    known = {name for constant, name in vars(accelerators).items() if constant.isupper()}
    if wanted is None or wanted in have or (joins_cluster() and wanted in known):
        return
    near = {name.lower(): name for name in sorted(known | have)}
    guess = difflib.get_close_matches(wanted.lower(), near, n=1)
    advice = f"did you mean {near[guess[0]]!r}?" if guess and near[guess[0]] != wanted else "see `ray list nodes`"
    raise SpecError(
        f"cluster.accelerator_type: no node has {wanted!r}, but {', '.join(sorted(have)) or 'none'}; {advice}"
    )
