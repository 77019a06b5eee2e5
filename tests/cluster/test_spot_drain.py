"""The watcher drains a preempted node, and the run finishes all units."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.local_nodes import LocalNodes, NotInCluster
from tests.cluster.conftest import HEAD, Generate
from tests.conftest import ROOT, Jobs, command, hashes, text_of
from tests.metadata import Metadata, serve_metadata


@pytest.fixture
def gce() -> Iterator[Metadata]:
    with serve_metadata("gce") as service, service.environment():
        yield service


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a head without cores and two workers with one core each. RAY_ADDRESS is set to it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster
    finally:
        cluster.shutdown()


def draining_or_dead(cluster: Any) -> set[str]:
    """Return the ids of nodes that drain or have ended. A draining node ends once it is idle."""
    dead = {node["NodeID"] for node in cluster.global_state.node_table() if not node["Alive"]}
    return dead | set(cluster.global_state.get_draining_nodes())


def test_the_nodes_of_this_machine_are_found(cluster: Any) -> None:
    every = sorted(node.node_id for node in cluster.list_all_nodes())
    assert sorted(LocalNodes().wait_for_nodes()) == every
    assert LocalNodes(every[1]).wait_for_nodes() == [every[1]]
    with pytest.raises(NotInCluster, match="none of its nodes has an address of this machine; start Ray on this mach"):
        LocalNodes("f" * 56).drain("it goes", time.time())
    assert not cluster.global_state.get_draining_nodes()


def test_a_preempted_node_is_drained_and_costs_no_byte(
    gce: Metadata, cluster: Any, generate: Generate, jobs: Jobs, fake_run: Path, tmp_path: Path
) -> None:
    leaving = next(iter(cluster.worker_nodes))
    log = tmp_path / "watch.log"
    with log.open("w") as file:
        line = command("watch", "--node-id", leaving.node_id)
        watcher = subprocess.Popen(line, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: f"watching Compute Engine for notices to Ray node {leaving.node_id}" in log.read_text())
        driver = generate("--set", "cluster.min_actors=2", "--set", "cluster.max_actors=2")
        driver.until(lambda: driver.done() >= 4)
        gce.say(preempted="TRUE")
        driver.until(lambda: leaving.node_id in draining_or_dead(cluster))
        assert len(draining_or_dead(cluster)) == 1
        assert watcher.wait(30) == 0, log.read_text()
        assert f"Compute Engine preempts this machine: drained Ray node {leaving.node_id}" in log.read_text()
        assert driver.done() < 18, "there was something left to do"
        cluster.remove_node(leaving, allow_graceful=False)
        assert driver.wait() == 0, driver.text()
    finally:
        watcher.kill()
        watcher.wait()
    assert hashes(driver.run) == hashes(fake_run)
    verified = jobs("verify", driver.run)
    assert verified.returncode == 0, text_of(verified)
    assert "(1 of 3 attempts used)" not in driver.text(), "a unit is not to blame for its node"
