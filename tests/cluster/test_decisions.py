"""What the driver decides by itself: when to give up, where actors fit, what is held against a unit, when to end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError

from engine.cluster.node_health import NodeHealth
from engine.cluster.nodes import Nodes, actors_that_fit
from engine.cluster.ray_errors import brief, is_the_units_doing
from engine.cluster.stop_signals import StopSignals
from engine.cluster.store_backoff import StoreBackoff
from engine.cluster.work_queue import WorkQueue
from engine.config.cluster_spec import ClusterSpec
from engine.errors import ModelError, NoStagingRoom, OutputError, Stopped, UnitsFailed
from shards.storage.retries import StoreUnreachable
from tests.cluster.fake_kind import fake_run
from tests.conftest import ROOT


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("load", "a traceback", cause, proctitle="x", pid=1, ip="127.0.0.1")


BROKEN, KILLED = raised(ModelError("no such model")), ActorDiedError()


def test_a_node_whose_disk_is_full_is_left_for_good_and_the_last_one_ends_the_run() -> None:
    loads, full = NodeHealth(0.0), raised(NoStagingRoom("/cache on n1: No space left on device"))
    loads.succeeded("a")
    loads.shun("a", full)
    loads.succeeded("a")
    assert loads.avoided == {"a"}, "that the model loads there is no help"
    assert not loads.hopeless({"a", "b"}, working=False)
    loads.shun("b", full)
    assert not loads.hopeless({"a", "b"}, working=True), "another actor of such a node may still have room"
    assert loads.hopeless({"a", "b"}, working=False)
    assert str(loads.error()) == "/cache on n1: No space left on device"


def test_one_broken_node_is_avoided_and_stops_nothing() -> None:
    loads = NodeHealth(600.0)
    for _ in range(3):
        assert not loads.avoided
        loads.failed("a", BROKEN)
        assert not loads.hopeless({"a", "b"}, working=False), "b has not been tried"
    assert loads.avoided == {"a"}
    loads.succeeded("b")
    assert not loads.hopeless({"a", "b"}, working=True)
    loads.succeeded("a")
    assert not loads.avoided, "its failures were no more than a bad hour"


@pytest.mark.parametrize("nodes", [1, 2, 3, 200])
def test_a_model_that_no_node_loads_stops_the_run(nodes: int) -> None:
    loads, cluster = NodeHealth(600.0), [f"n{i}" for i in range(nodes)]
    for number, node in enumerate(cluster[: min(3, nodes)]):
        assert not loads.hopeless(cluster, working=False), number
        loads.failed(node, BROKEN)
    assert loads.hopeless(cluster, working=False)
    assert str(loads.error()) == "no such model"


def test_processes_that_are_killed_while_loading_are_tried_again() -> None:
    loads = NodeHealth(600.0)
    for _ in range(3):
        assert not loads.hopeless({"a"}, working=False)
        loads.failed("a", KILLED)
    assert loads.hopeless({"a"}, working=False)
    assert str(loads.error()).startswith("ActorDiedError: The actor died")


def test_processes_that_die_before_they_say_where_they_are() -> None:
    loads = NodeHealth(600.0)
    for _ in range(6):
        assert not loads.hopeless({"a", "b"}, working=False)
        loads.failed("", KILLED)
    assert loads.hopeless({"a", "b"}, working=False)
    loads.succeeded("a")
    assert not loads.hopeless({"a", "b"}, working=False)


def test_a_run_that_once_had_a_good_node_waits_for_another() -> None:
    now = [0.0]
    loads = NodeHealth(600.0, clock=lambda: now[0])
    loads.succeeded("good")
    for _ in range(3):
        loads.failed("bad", BROKEN)
    assert not loads.hopeless({"bad"}, working=False)
    now[0] = 599.0
    assert not loads.hopeless({"bad"}, working=False)
    assert not loads.hopeless({"bad", "new"}, working=False), "the wait begins anew with a new node"
    now[0] = 1199.0
    assert not loads.hopeless({"bad"}, working=False)
    assert not loads.hopeless(set(), working=False), "the autoscaler may bring one"
    now[0] = 5000.0
    assert not loads.hopeless({"bad"}, working=True)
    now[0] = 6000.0
    assert not loads.hopeless({"bad"}, working=False)
    now[0] = 6600.0
    assert loads.hopeless({"bad"}, working=False)


@pytest.mark.parametrize(
    ("resources", "cluster", "room"),
    [
        ({"CPU": 8.0}, {}, 8),
        ({"CPU": 7.0}, {"cpus_per_actor": 2}, 3),
        ({"memory": 1.0}, {}, 0),
        ({"CPU": 8.0}, {"gpus_per_actor": 1}, 0),
        ({"CPU": 8.0, "GPU": 4.0}, {"gpus_per_actor": 1}, 4),
        ({"CPU": 8.0, "GPU": 5.0}, {"gpus_per_actor": 2}, 2),
        ({"CPU": 3.0, "GPU": 4.0}, {"gpus_per_actor": 1}, 3),
        ({"CPU": 99.0, "GPU": 2.0}, {"gpus_per_actor": 0.25}, 8),
        ({"CPU": 99.0, "GPU": 2.0}, {"gpus_per_actor": 0.4}, 4),  # five times 0.4 is 2, but no actor gets two halves
        ({"CPU": 9.0, "GPU": 2.0, "accelerator_type:L4": 1.0}, {"gpus_per_actor": 1, "accelerator_type": "L4"}, 2),
        ({"CPU": 9.0, "GPU": 2.0, "accelerator_type:T4": 1.0}, {"gpus_per_actor": 1, "accelerator_type": "L4"}, 0),
    ],
)
def test_how_many_actors_a_node_holds(resources: dict[str, float], cluster: dict, room: int) -> None:
    assert actors_that_fit(resources, ClusterSpec(**cluster)) == room


def test_how_many_actors_are_asked_for() -> None:
    def wanted(**cluster: int) -> int:
        nodes = Nodes(ClusterSpec(**cluster))  # type: ignore[arg-type]
        nodes.live, nodes.draining = {"a": 2, "b": 3, "c": 4}, frozenset({"c"})
        return nodes.actors_wanted(avoided={"b"})

    assert wanted() == 2, "what fits on nodes that stay and can load the model"
    assert wanted(min_actors=5) == 5
    assert wanted(max_actors=40) == 40, "those that wait are what an autoscaler looks at"
    assert wanted(max_actors=1) == 1


@pytest.mark.parametrize(
    ("error", "stays", "charged"),
    [
        (ActorDiedError(), True, True),
        (ActorDiedError(), False, False),
        (ActorUnavailableError("unreachable", None), True, False),
        (OutOfMemoryError("the node's memory monitor"), True, True),
    ],
)
def test_what_is_held_against_a_unit(error: Exception, stays: bool, charged: bool) -> None:
    assert is_the_units_doing(error, stays) is charged  # type: ignore[arg-type]


def test_a_backlog_counts_attempts_and_keeps_a_file_of_those_given_up(tmp_path: Path) -> None:
    run = fake_run(tmp_path, 3, ClusterSpec(unit_attempts=2))
    backlog = WorkQueue(run)
    number = backlog.take()
    backlog.give_back(number)
    assert (backlog.take(), backlog.used(number)) == (number, 0)
    assert not backlog.charge(number, raised(ValueError("once")))
    others = [backlog.take(), backlog.take()]
    assert backlog.take() == number, "it goes after the others"
    assert backlog.charge(number, raised(ValueError("twice")))
    backlog.give_back(*others)
    assert (len(backlog), backlog.used(number)) == (2, 2)
    with pytest.raises(UnitsFailed, match=r"1 of 3 units failed, the first is 00000: ValueError: twice; see .*quarant"):
        backlog.check()
    assert len(json.loads((tmp_path / "quarantine/00000.json").read_text())["attempts"]) == 2

    later = WorkQueue(run)  # that of the same command again
    assert later.take() == number
    later.done(number)
    later.check()
    assert not list((tmp_path / "quarantine").glob("*.json"))


def test_while_a_store_does_not_answer_nothing_begins_and_at_last_the_run_ends() -> None:
    now, outage, waits = [0.0], StoreBackoff(lambda: now[0]), []
    away = StoreUnreachable("s3://bucket/run: cannot be written (TimeoutError)")
    assert not outage.waiting
    for _ in range(6):
        waits.append(outage.failed(away))
        assert outage.failed(away) == waits[-1], "those in flight together are one failure"
        assert outage.waiting
        now[0] += waits[-1]
        assert not outage.waiting
    assert waits == [5, 10, 20, 40, 60, 60]
    outage.over()
    assert outage.failed(away) == 5
    now[0] += 15 * 60
    with pytest.raises(OutputError, match=r"TimeoutError\); so for 15 minutes\. Nothing that was finished is lost"):
        outage.failed(away)


def test_an_error_in_one_line() -> None:
    assert brief(raised(ValueError("first\nsecond"))) == "ValueError: first"
    assert brief(ValueError("")) == "ValueError: ValueError('')"


def test_signals_are_noted_and_raised_by_the_loop_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        signals.check()
        assert signals.draining
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="stopped by SIGINT; run the same command again") as caught:
            signals.check()
        assert caught.value.exit_code == 130
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` sends it: to the process, and to its group
        with pytest.raises(Stopped, match="stopped by SIGTERM") as caught:
            signals.check()
        assert caught.value.exit_code == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


HELD_UP = """
import os, signal, time
from engine.cluster import stop
stop._PATIENCE_S = 0.2
with stop.StopSignals():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_loop_that_does_not_look_is_ended_by_the_next_signal() -> None:
    found = subprocess.run([sys.executable, "-c", HELD_UP], cwd=ROOT, timeout=30, check=False)
    assert found.returncode == 143
