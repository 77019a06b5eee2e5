"""Faults of the nodes of a cluster: they die, are drained, are ended, freeze, or cannot load the model."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from bench.faults.driver import TIMEOUT_S, UnexpectedOutcome
from bench.faults.fault import fault
from bench.faults.scene import UNITS, Scene

# Ray notices a dead node after half a minute or more; here sooner, since the faults test what follows.
_HEALTH = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 5,
}
_NOTICE_S = 10.0
_UNCHARGED, _CHARGED = "(0 of 3 attempts used)", "(1 of 3 attempts used)"


@fault("node SIGKILL")
def killed(scene: Scene) -> None:
    """SIGKILL to every process of a node where a unit is being made, and of the node that takes over; a new one comes
    each time."""
    with cluster(scene, nodes=1) as nodes:
        driver = scene.generate()
        for units in (1, 4):
            scene.wait_until_busy(driver, units)
            nodes.remove_node(_busy(scene, nodes), allow_graceful=False)
            nodes.add_node(num_cpus=scene.workers)
        driver.expect_exit(0, _UNCHARGED)
        _check_uncharged(driver.output())


@fault("drain notice and then the kill")
def drained(scene: Scene) -> None:
    """An interruption notice for a node where a unit is being made, and its end when the notice runs out."""
    with cluster(scene, nodes=2) as nodes:
        driver = scene.generate()
        scene.wait_until_busy(driver)
        victim = _busy(scene, nodes)
        drain(nodes, victim)
        time.sleep(_NOTICE_S)
        if _busy_actors_on(scene, victim):
            raise UnexpectedOutcome("a drained node was given another unit")
        nodes.remove_node(victim, allow_graceful=False)
        driver.expect_exit(0)
        _check_uncharged(driver.output())


@fault("SIGTERM to a node with a short unit")
def ended_short(scene: Scene) -> None:
    """SIGTERM to a node as its machine's shutdown sends it; the unit in flight is finished within the grace."""
    _ended(scene, grace_s=60, freeze=False)


@fault("SIGTERM to a node with a long unit")
def ended_long(scene: Scene) -> None:
    """The same, with a unit in flight that does not end within the grace: it goes to another node."""
    _ended(scene, grace_s=2, freeze=True)


@fault("frozen node that wakes up and writes late")
def frozen(scene: Scene) -> None:
    """SIGSTOP to every process of a node until Ray gives it up and another node makes its units; then SIGCONT."""
    with cluster(scene, nodes=2) as nodes:
        driver = scene.generate()
        scene.wait_until_busy(driver)
        raylet = psutil.Process(_raylet(_busy(scene, nodes)))
        stopped = [raylet, *raylet.children(recursive=True)]
        for process in stopped:
            process.suspend()
        driver.wait_until(lambda: _UNCHARGED in driver.output())
        driver.wait_until(lambda: scene.finished_units() >= UNITS - 1)
        for process in stopped:
            if process.is_running():
                process.resume()
        driver.expect_exit(0)
        _check_uncharged(driver.output())


@fault("head node lost, new cluster, resume")
def head(scene: Scene) -> None:
    """SIGKILL to every process of the head node; then the same command on a new cluster."""
    with cluster(scene, nodes=1) as nodes:
        driver = scene.generate()
        scene.wait_until_busy(driver)
        nodes.remove_node(nodes.head_node, allow_graceful=False)
        driver.expect_exit(1, "Failed to connect to GCS")  # Ray itself ends a process that lost its head
    with cluster(scene, nodes=1):
        scene.generate().expect_exit(0)


@fault("model that fails to load on one node only")
def unloadable(scene: Scene) -> None:
    """On one of two nodes the pipeline library cannot be imported: the other one makes the run."""
    broken = scene.folder / "broken" / "diffusers"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise ImportError("libcudart.so.13: cannot open shared object file")\n')
    with cluster(scene, nodes=0) as nodes:
        nodes.add_node(num_cpus=scene.workers, env_vars={"PYTHONPATH": str(broken.parent)})
        nodes.add_node(num_cpus=scene.workers)
        driver = scene.generate(workers=2 * scene.workers)  # so that both are tried
        driver.expect_exit(0, "an actor could not start", "libcudart.so.13")


@contextmanager
def cluster(scene: Scene, nodes: int, dashboard: bool = False) -> Iterator[Any]:
    """Start a Ray cluster whose head runs no actor, and nodes that each hold all actors. Commands join it."""
    from ray.cluster_utils import Cluster

    # An agent whose port another Ray on this machine has takes no jobs.
    ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
    head = {"num_cpus": 0, "include_dashboard": dashboard, **ports, "_system_config": _HEALTH}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=scene.workers)
        with patch.dict(os.environ, {"RAY_ADDRESS": started.address}):
            yield started
    finally:
        scene.kill_all()  # before its nodes go, so that no driver waits for them
        started.shutdown()


def drain(nodes: Any, node: Any) -> None:
    """Drain a node as `python -m jobs watch` does: it ends in a few seconds."""
    from ray._raylet import GcsClient  # private: Ray has no public way
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + _NOTICE_S) * 1000)
    accepted, why = GcsClient(address=nodes.address).drain_node(node.node_id, reason, "a notice", deadline_ms)
    if not accepted:
        raise UnexpectedOutcome(f"Ray does not drain the node: {why}")


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ended(scene: Scene, grace_s: float, freeze: bool) -> None:
    with cluster(scene, nodes=0) as nodes:
        node = _own_node(nodes.address, scene, grace_s)
        driver = scene.generate()
        scene.wait_until_busy(driver, 1)
        actors = scene.busy_actors()
        for actor in actors:
            actor.suspend()
        nodes.add_node(num_cpus=scene.workers)  # this takes seconds, in which the run would end
        for actor in () if freeze else actors:
            actor.resume()
        node.send_signal(signal.SIGTERM)
        driver.expect_exit(0, *([_UNCHARGED] if freeze else []))
        _check_uncharged(driver.output())
        node.wait(TIMEOUT_S)


def _own_node(address: str, scene: Scene, grace_s: float) -> "subprocess.Popen[bytes]":
    """Start a node by `ray start`: only such a node drains on SIGTERM."""
    line = [str(Path(sys.executable).with_name("ray")), "start", f"--address={address}", "--block"]
    line += [f"--num-cpus={scene.workers}"]
    environment = os.environ | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(grace_s)}
    with (scene.folder / "node.log").open("w") as log:
        return subprocess.Popen(line, env=environment, stdout=log, stderr=log)


def _check_uncharged(text: str) -> None:
    if _CHARGED in text:
        raise UnexpectedOutcome("a unit was charged for what happened to its node")


def _raylet(node: Any) -> int:
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


def _busy_actors_on(scene: Scene, node: Any) -> list[psutil.Process]:
    return [actor for actor in scene.busy_actors() if actor.ppid() == _raylet(node)]


def _busy(scene: Scene, nodes: Any) -> Any:
    """Return a node with a busy actor."""
    return next(node for node in nodes.worker_nodes if _busy_actors_on(scene, node))
