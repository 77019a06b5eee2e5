"""Interruption notices of EC2 and Compute Engine, as the watcher reads them."""

import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cluster.spot_notices import (
    Cloud,
    Ec2,
    Gce,
    Interruption,
    NoSpotNotices,
    detect_cloud,
    ec2_notices,
    gce_notices,
    wait_for_interruption,
)
from tests.conftest import Jobs, text_of
from tests.metadata import Metadata, serve_metadata

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


class LineLog:
    """A log that keeps its lines."""

    console = None

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, event: str, text: str, level: str = "info", **fields: Any) -> None:
        self.lines.append(text)

    def record(self, event: str, level: str = "info", **fields: Any) -> None:
        raise AssertionError("the watcher writes no line for programs alone")


@pytest.fixture
def ec2() -> Iterator[Metadata]:
    with serve_metadata("ec2") as service, service.environment():
        yield service


@pytest.fixture
def gce() -> Iterator[Metadata]:
    with serve_metadata("gce") as service, service.environment():
        yield service


class Watcher:
    """A thread that runs `wait_for_interruption`."""

    def __init__(self, cloud: Cloud) -> None:
        self.log = LineLog()
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
        (result,) = self.ended
        return result


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not met within {seconds} s"
        time.sleep(0.02)


def test_ec2_announces_a_spot_interruption(ec2: Metadata) -> None:
    watcher = Watcher(Ec2(pause_s=0.01))
    until(lambda: ec2.requests.count("/latest/meta-data/spot/instance-action") > 3)
    ec2.forget_tokens()
    requests_before = len(ec2.requests)
    until(lambda: len(ec2.requests) > requests_before + 6)
    ec2.say(rebalance={"noticeTime": "2027-01-15T07:50:00Z"})
    until(lambda: watcher.log.lines)
    ec2.fail(3)
    until(lambda: len(watcher.log.lines) > 1)
    assert not watcher.ended, "neither a recommendation nor a failure of the service is an interruption"
    ec2.say(instance_action={"action": "terminate", "time": "2027-01-15T08:02:00Z"})
    assert watcher.end() == Interruption("EC2 will terminate this spot machine", NOW + 120)
    assert ec2.requests.count("/latest/api/token") == 2, "a token is requested only if there is no valid one"
    assert watcher.log.lines == [
        "EC2 recommends to leave this spot machine: an interruption has become more likely",
        "the metadata service of EC2 gives no answer (HTTP status 503); asking again",
    ]


def test_compute_engine_announces_a_preemption(gce: Metadata) -> None:
    watcher = Watcher(Gce(pause_s=0.01))
    until(lambda: len(gce.requests) >= 3)
    time.sleep(0.2)
    assert len(gce.requests) == 3, "the service answers when something changes"
    gce.say(maintenance_event="MIGRATE_ON_HOST_MAINTENANCE")
    until(lambda: watcher.log.lines)
    began = time.time()
    gce.say(preempted="TRUE")
    notice = watcher.end()
    assert isinstance(notice, Interruption)
    assert began + 30 <= notice.deadline <= time.time() + 30
    assert watcher.log.lines == ["Compute Engine will move this machine to another host, which stops it for a moment"]


def test_host_maintenance_is_an_interruption(gce: Metadata) -> None:
    gce.say(maintenance_event="TERMINATE_ON_HOST_MAINTENANCE")
    (notice,) = Gce().notices()
    assert isinstance(notice, Interruption)
    assert 55 < notice.deadline - time.time() <= 60


def test_a_metadata_service_without_preemptions(gce: Metadata) -> None:
    gce.say(preempted=None)
    notice = Watcher(Gce(pause_s=0.01)).end()
    assert isinstance(notice, NoSpotNotices)
    assert "GKE hides them from pods" in str(notice)


@pytest.mark.parametrize(("cloud", "kind"), [("ec2", Ec2), ("gce", Gce)])
def test_the_cloud_whose_service_answers_is_detected(cloud: str, kind: type) -> None:
    with serve_metadata(cloud) as service, service.environment():
        assert type(detect_cloud()) is kind


def test_without_a_metadata_service_the_command_fails(jobs: Jobs) -> None:
    with serve_metadata() as service, service.environment():
        result = jobs("watch")
    assert result.returncode == 1
    assert "error: neither EC2's nor Compute Engine's metadata service answers here" in result.stderr
    assert "Traceback" not in text_of(result)


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(str))
def test_no_action_of_ec2_is_missed(body: str) -> None:
    (notice,) = ec2_notices(body, None, NOW)
    assert isinstance(notice, Interruption)


@given(st.text(), st.text())
def test_other_answers_of_compute_engine_are_ignored(preempted: str, maintenance: str) -> None:
    kinds = [type(notice) for notice in gce_notices(preempted, maintenance, NOW)]
    ends = preempted.strip() == "TRUE" or maintenance.strip() == "TERMINATE_ON_HOST_MAINTENANCE"
    assert (Interruption in kinds) == ends
    assert len(kinds) <= 1
