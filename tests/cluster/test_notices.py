"""A cloud's notice reaches the watcher, the watcher drains the node, and the run ends as if nothing had happened."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cluster.spot_notices import Cloud, Ec2, Gce, Interruption, NoSpotNotices, wait_for_interruption, ec2_notices, detect_cloud, gce_notices
from tests.cluster.conftest import Generate
from tests.conftest import ROOT, Jobs, command, hashes, text_of
from tests.metadata import Metadata, serve_metadata

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


class Lines:
    """A log that keeps what it is told."""

    console = None

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, event: str, text: str, level: str = "info", **fields: Any) -> None:
        self.said.append(text)

    def record(self, event: str, level: str = "info", **fields: Any) -> None:
        raise AssertionError("watching has nothing for programs alone")


@pytest.fixture
def ec2() -> Iterator[Metadata]:
    with serve_metadata("ec2") as service, service.environment():
        yield service


@pytest.fixture
def gce() -> Iterator[Metadata]:
    with serve_metadata("gce") as service, service.environment():
        yield service


class Watching:
    """`await_interruption` in a thread."""

    def __init__(self, cloud: Cloud) -> None:
        self.log = Lines()
        self.ended: list[Interruption | NoSpotNotices] = []
        self._thread = Thread(target=self._run, args=(cloud,), daemon=True)
        self._thread.start()

    def _run(self, cloud: Cloud) -> None:
        try:
            self.ended.append(wait_for_interruption(cloud, self.log))
        except NoSpotNotices as error:
            self.ended.append(error)

    def end(self) -> Interruption | NoSpotNotices:
        self._thread.join(10)
        (found,) = self.ended
        return found


def until(what: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"nothing in {seconds} s"
        time.sleep(0.02)


def test_ec2_says_when_a_spot_machine_goes(ec2: Metadata) -> None:
    watching = Watching(Ec2(pause_s=0.01))
    until(lambda: ec2.asked.count("/latest/meta-data/spot/instance-action") > 3)
    ec2.forget_tokens()
    asked = len(ec2.asked)
    until(lambda: len(ec2.asked) > asked + 6)
    ec2.say(rebalance={"noticeTime": "2027-01-15T07:50:00Z"})
    until(lambda: watching.log.said)
    ec2.fail(3)
    until(lambda: len(watching.log.said) > 1)
    assert not watching.ended, "neither a recommendation nor a failure of the service is an interruption"
    ec2.say(instance_action={"action": "terminate", "time": "2027-01-15T08:02:00Z"})
    assert watching.end() == Interruption("EC2 will terminate this spot machine", NOW + 120)
    assert ec2.asked.count("/latest/api/token") == 2, "a token is asked for when there is none that counts"
    assert watching.log.said == [
        "EC2 recommends to leave this spot machine: an interruption has become more likely",
        "the metadata service of EC2 gives no answer (HTTP status 503); asking again",
    ]


def test_compute_engine_says_when_it_preempts(gce: Metadata) -> None:
    watching = Watching(Gce(pause_s=0.01))
    until(lambda: len(gce.asked) >= 3)
    time.sleep(0.2)
    assert len(gce.asked) == 3, "the service answers when something changes"
    gce.say(maintenance_event="MIGRATE_ON_HOST_MAINTENANCE")
    until(lambda: watching.log.said)
    began = time.time()
    gce.say(preempted="TRUE")
    found = watching.end()
    assert isinstance(found, Interruption)
    assert began + 30 <= found.deadline <= time.time() + 30
    assert watching.log.said == ["Compute Engine will move this machine to another host, which stops it for a moment"]


def test_host_maintenance_that_stops_the_machine_is_an_interruption(gce: Metadata) -> None:
    gce.say(maintenance_event="TERMINATE_ON_HOST_MAINTENANCE")
    (found,) = Gce().notices()
    assert isinstance(found, Interruption)
    assert 55 < found.deadline - time.time() <= 60


def test_a_metadata_service_without_preemptions_is_named(gce: Metadata) -> None:
    gce.say(preempted=None)
    found = Watching(Gce(pause_s=0.01)).end()
    assert isinstance(found, NoSpotNotices)
    assert "GKE's hides that from pods" in str(found)


@pytest.mark.parametrize(("cloud", "kind"), [("ec2", Ec2), ("gce", Gce)])
def test_the_cloud_is_found_by_who_answers(cloud: str, kind: type) -> None:
    with serve_metadata(cloud) as service, service.environment():
        assert type(detect_cloud()) is kind


def test_elsewhere_the_command_says_so(jobs: Jobs) -> None:
    with serve_metadata() as service, service.environment():
        found = jobs("watch")
    assert found.returncode == 1
    assert "error: neither EC2's nor Compute Engine's metadata service answers here" in found.stderr
    assert "Traceback" not in text_of(found)


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(str))
def test_what_ec2_says_of_an_action_is_never_missed(body: str) -> None:
    (found,) = ec2_notices(body, None, NOW)
    assert isinstance(found, Interruption)


@given(st.text(), st.text())
def test_other_words_of_compute_engine_end_nothing(preempted: str, maintenance: str) -> None:
    kinds = [type(one) for one in gce_notices(preempted, maintenance, NOW)]
    ends = preempted.strip() == "TRUE" or maintenance.strip() == "TERMINATE_ON_HOST_MAINTENANCE"
    assert (Interruption in kinds) == ends
    assert len(kinds) <= 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two workers with one each. RAY_ADDRESS tells of it."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            found.add_node(num_cpus=1)
        found.wait_for_nodes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", found.address)
            yield found
    finally:
        found.shutdown()


def draining_or_dead(cluster: Any) -> set[str]:
    """A node that drains ends by itself once it is idle."""
    dead = {node["NodeID"] for node in cluster.global_state.node_table() if not node["Alive"]}
    return dead | set(cluster.global_state.get_draining_nodes())


def test_a_machine_knows_its_nodes(cluster: Any) -> None:
    from engine.cluster.local_nodes import LocalNodes, NotInCluster

    every = sorted(node.node_id for node in cluster.list_all_nodes())
    assert sorted(LocalNodes().await_nodes()) == every
    assert LocalNodes(every[1]).await_nodes() == [every[1]]
    with pytest.raises(NotInCluster, match="none of its nodes has an address of this machine; start Ray on this mach"):
        LocalNodes("f" * 56).drain("it goes", time.time())
    assert not cluster.global_state.get_draining_nodes()


def test_a_preempted_node_is_drained_and_its_end_changes_no_byte(
    gce: Metadata, cluster: Any, generate: Generate, jobs: Jobs, tiny_run: Path, tmp_path: Path
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
    assert hashes(driver.run) == hashes(tiny_run)
    verified = jobs("verify", driver.run)
    assert verified.returncode == 0, text_of(verified)
    assert "(1 of 3 attempts used)" not in driver.text(), "a unit is not to blame for its node"
