"""Nodes that are excluded, and the error when no remaining node can load the model."""

import pytest
from ray.exceptions import ActorDiedError

from engine.cluster.node_health import NodeHealth
from engine.errors import ModelError, NoStagingRoom
from tests.engine.cluster.fake_pool import raised

BROKEN, KILLED = raised(ModelError("no such model")), ActorDiedError()


def test_a_node_with_a_full_disk_is_excluded_for_good() -> None:
    health, full = NodeHealth(0.0), raised(NoStagingRoom("/cache on n1: No space left on device"))
    health.record_success("a")
    health.exclude("a", full)
    health.record_success("a")
    assert health.avoided_nodes == {"a"}, "a later success does not undo the exclusion"
    assert not health.should_give_up({"a", "b"}, any_actor_ready=False)
    health.exclude("b", full)
    assert not health.should_give_up({"a", "b"}, any_actor_ready=True), "another actor there may still have room"
    assert health.should_give_up({"a", "b"}, any_actor_ready=False)
    assert str(health.error()) == "/cache on n1: No space left on device"


def test_one_broken_node_is_avoided_and_stops_nothing() -> None:
    health = NodeHealth(600.0)
    for _ in range(3):
        assert not health.avoided_nodes
        health.record_failure("a", BROKEN)
        assert not health.should_give_up({"a", "b"}, any_actor_ready=False), "b has not been tried"
    assert health.avoided_nodes == {"a"}
    health.record_success("b")
    assert not health.should_give_up({"a", "b"}, any_actor_ready=True)
    health.record_success("a")
    assert not health.avoided_nodes, "its failures were temporary"


@pytest.mark.parametrize("count", [1, 2, 3, 200])
def test_a_model_that_no_node_loads_stops_the_run(count: int) -> None:
    health, nodes = NodeHealth(600.0), [f"n{i}" for i in range(count)]
    for node in nodes[:3]:
        assert not health.should_give_up(nodes, any_actor_ready=False), node
        health.record_failure(node, BROKEN)
    assert health.should_give_up(nodes, any_actor_ready=False)
    assert str(health.error()) == "no such model"


def test_a_process_that_is_killed_while_loading_is_retried() -> None:
    health = NodeHealth(600.0)
    for _ in range(3):
        assert not health.should_give_up({"a"}, any_actor_ready=False)
        health.record_failure("a", KILLED)
    assert health.should_give_up({"a"}, any_actor_ready=False)
    assert str(health.error()).startswith("ActorDiedError: The actor died")


def test_processes_that_die_before_they_name_their_node() -> None:
    health = NodeHealth(600.0)
    for _ in range(6):
        assert not health.should_give_up({"a", "b"}, any_actor_ready=False)
        health.record_failure("", KILLED)
    assert health.should_give_up({"a", "b"}, any_actor_ready=False)
    health.record_success("a")
    assert not health.should_give_up({"a", "b"}, any_actor_ready=False)


def test_a_run_that_once_had_a_good_node_waits_for_another() -> None:
    now = [0.0]
    health = NodeHealth(600.0, clock=lambda: now[0])
    health.record_success("good")
    for _ in range(3):
        health.record_failure("bad", BROKEN)
    assert not health.should_give_up({"bad"}, any_actor_ready=False)
    now[0] = 599.0
    assert not health.should_give_up({"bad"}, any_actor_ready=False)
    assert not health.should_give_up({"bad", "new"}, any_actor_ready=False), "a new node restarts the wait"
    now[0] = 1199.0
    assert not health.should_give_up({"bad"}, any_actor_ready=False)
    assert not health.should_give_up(set(), any_actor_ready=False), "the autoscaler may still start a node"
    now[0] = 5000.0
    assert not health.should_give_up({"bad"}, any_actor_ready=True)
    now[0] = 6000.0
    assert not health.should_give_up({"bad"}, any_actor_ready=False)
    now[0] = 6600.0
    assert health.should_give_up({"bad"}, any_actor_ready=False)
