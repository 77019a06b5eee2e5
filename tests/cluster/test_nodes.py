"""Nodes that drain, die, or cannot load the model, on a cluster of several nodes on this machine."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.config.cluster_spec import ClusterSpec
from engine.config.spec import BudgetSpec
from engine.errors import BudgetSpent, ModelError
from engine.monitoring.budget import CostMeter, read_cost
from engine.monitoring.log import JsonLog
from engine.monitoring.run_progress import RunProgress
from engine.run.run import Run
from shards.stats import Stats
from tests.cluster.conftest import HEAD
from tests.cluster.fake_kind import BROKEN, SICK, SIGN, fake_run

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own start

TWO = ClusterSpec(max_actors=2, unit_attempts=1)
"""The first attempt of a unit that is charged to it fails the run."""
NOTICED_S = 120.0


class Nodes:
    """A cluster whose nodes hold one actor each, and to which the test is connected."""

    def __init__(self) -> None:
        import ray
        from ray.cluster_utils import Cluster

        ray.shutdown()  # of the Ray that tests share
        self._cluster = Cluster(initialize_head=True, head_node_args=HEAD)
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")

    def add(self, **variables: str) -> str:
        """Start a node and return its id. Do not call this from a thread: Ray installs signal handlers."""
        return str(self._cluster.add_node(num_cpus=1, env_vars=variables or None).node_id)

    def drain(self, node: str, seconds: float) -> None:
        """Drain a node by its id, as the watcher of spot notices does."""
        from ray._raylet import GcsClient
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = int(1000 * (time.time() + seconds))
        GcsClient(address=self._cluster.address).drain_node(node, why, "a spot notice", deadline)

    def remove(self, *nodes: str) -> None:
        """Kill nodes and wait until Ray has noticed. Until then Ray starts actors there."""
        import ray

        for node in self._cluster.list_all_nodes():
            if node.node_id in nodes:
                self._cluster.remove_node(node, allow_graceful=False)
        until = time.monotonic() + NOTICED_S
        while any(state["Alive"] and state["NodeID"] in nodes for state in ray.nodes()):
            assert time.monotonic() < until, "Ray did not notice"
            time.sleep(0.05)

    def end(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    cluster = Nodes()
    yield cluster
    cluster.end()


class Watched(RunProgress):
    """A progress log that keeps all lines. It calls `then(units_done, node)` after each unit."""

    def __init__(self, then: Callable[[int, str], None] = lambda done, node: None) -> None:
        super().__init__((), (), ())
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self._done, self._then = 0, then

    def unit_done(self, stats: Stats) -> None:
        self._done += 1
        threading.Thread(target=self._then, args=(self._done, stats["device"])).start()

    def actor_ready(self, device: str, node: str) -> None:
        self.lines.append(("actor_ready", {"device": device, "node": node}))

    def log(self, text: str, event: str = "note", level: str = "info", **fields: Any) -> None:
        self.lines.append((f"{event}: {text}", fields))

    def told(self, event: str) -> list[tuple[str, dict[str, Any]]]:
        return [line for line in self.lines if line[0].startswith(event)]


def ready(progress: Watched) -> list[str]:
    """Return the nodes where an actor became ready, in that order."""
    return [fields["node"] for _, fields in progress.told("actor_ready")]


def made_by(run: Run) -> list[str]:
    """Return the nodes that made the units, in the order of units."""
    return [stats["device"] for stats in run.stats().values()]


def test_a_node_that_drains_gets_no_new_unit_and_costs_none(nodes: Nodes, tmp_path: Path) -> None:
    from engine.cluster.driver import generate

    run = fake_run(tmp_path, 12, TWO, seconds=0.2)
    three, removed = {nodes.add() for _ in range(3)}, []

    def interrupt(done: int, node: str) -> None:
        if done in (2, 7):  # both nodes that work at first, one after the other
            removed.append(next(node_id for node_id in ready(progress) if node_id not in removed))
            nodes.drain(removed[-1], 60)

    progress = Watched(interrupt)
    generate(run, progress)
    nodes.remove(*three)
    makers = made_by(run)
    assert set(makers) == three, "the third node took the place of those that drained"
    # One unit before, the one that it had, and one that it may have got before the notice was heard.
    assert 1 <= makers.count(removed[0]) <= 4, (removed, makers)
    assert removed[0] not in makers[7:]
    assert not progress.told("unit_attempt_failed")


def test_a_node_that_dies_under_a_unit_gives_it_back(nodes: Nodes, tmp_path: Path) -> None:
    from engine.cluster.driver import generate

    run = fake_run(tmp_path, 4, TWO, seconds=0.6)
    two = [nodes.add(), nodes.add()]

    def interrupt(done: int, node: str) -> None:
        if done == 1:
            nodes.drain(node, 2)  # while it makes its second unit, for which it has too little time
            time.sleep(1.0)
            nodes.remove(node)

    progress = Watched(interrupt)
    generate(run, progress)
    nodes.remove(*two)
    assert len(made_by(run)) == 4
    given_back = progress.told("unit_attempt_failed")
    assert given_back, progress.lines
    assert all("(0 of 1 attempts used)" in text for text, _ in given_back)


def test_a_model_that_one_node_cannot_load_is_made_elsewhere(nodes: Nodes, tmp_path: Path) -> None:
    from engine.cluster.driver import generate

    run = fake_run(tmp_path, 8, TWO, seconds=0.3)
    broken, sound = nodes.add(**{BROKEN: "1"}), nodes.add()
    progress = Watched()
    generate(run, progress)
    nodes.remove(broken, sound)
    assert set(made_by(run)) == {sound}
    # On a busy machine a process may die before it is an actor; and the sound node may have made everything before the
    # other one failed for the third time.
    failures = progress.told("model_load_failed")
    failed = [fields["node"] for text, fields in failures if "ModelError: the driver of" in text]
    assert failed == [broken] * len(failed) != [], progress.lines
    assert len(failed) <= 3
    assert [fields["node"] for _, fields in progress.told("node_avoided")] == [broken] * (len(failed) == 3)


@pytest.mark.parametrize(
    "error",
    ["CUDA error: unspecified launch failure", pytest.param("CUDNN_STATUS_EXECUTION_FAILED", marks=pytest.mark.slow)],
)
def test_a_device_that_breaks_again_and_again_fails_no_unit(nodes: Nodes, tmp_path: Path, error: str) -> None:
    from engine.cluster.driver import generate

    run, sign = fake_run(tmp_path / "run", 24, ClusterSpec(max_actors=2), seconds=0.1), str(tmp_path / "sign")
    sick, sound = nodes.add(**{SICK: error, SIGN: sign}), nodes.add(**{SIGN: sign})
    progress = Watched()
    generate(run, progress)
    nodes.remove(sick, sound)
    assert len(made_by(run)) == 24
    assert {fields["node"] for _, fields in progress.told("actor_stopped")} == {sick}, progress.lines
    assert not list((tmp_path / "run/quarantine").glob("*.json"))


def test_spent_budget_ends_after_units_in_flight_and_resumes(nodes: Nodes, tmp_path: Path) -> None:
    from engine.cluster.driver import generate

    run = fake_run(tmp_path, 12, ClusterSpec(max_actors=1), seconds=0.1, fits=2)
    node = nodes.add()
    spec = run.context.spec.model_copy(update={"budget": BudgetSpec(gpu_hours=6 / 3600)})
    progress = Watched()
    with pytest.raises(BudgetSpent, match=r"stopped with \d+ units left: budget.gpu_hours .* is spent") as caught:
        generate(run, progress, CostMeter(spec, ()))
    assert caught.value.exit_code == 3
    assert 0 < len(made_by(run)) < 12
    assert len(progress.told("run_draining")) == 1
    assert not list((tmp_path / "shards/.staging").glob("*"))
    generate(run, progress)
    nodes.remove(node)
    assert len(made_by(run)) == 12
    assert {stats["batch_size"] for stats in run.stats().values()} == {2}
    assert len(progress.told("batch_size_reduced: an actor reduced its batch size to 2")) == 2, "once for each actor"


def test_a_batch_size_that_ends_the_process_is_not_chosen(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.cluster.batch_size_trial import measure_batch_sizes
    from engine.workflows.generation import batch_sizes_at_cost

    node = nodes.add()
    run = fake_run(tmp_path / "run", 1, ClusterSpec(), survives=2, seconds=0.05)
    meter, before = CostMeter(run.context.spec, ()), time.monotonic()
    measured = measure_batch_sizes(run.context, run.store, JsonLog(), meter)
    assert 1.0 < meter.seconds < time.monotonic() - before, "at least the batches that it timed"
    assert (measured.device, list(measured.rates), measured.chosen) == (node, [1, 2, 4], 2)
    lines = capsys.readouterr().out.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]  # Ray says things, too
    sizes = {
        event["batch_size"]: event["images_per_second"] for event in events if event["event"] == "batch_size_measured"
    }
    assert sizes == measured.rates
    assert sizes[4] is None
    assert (events[-1]["event"], events[-1]["batch_size"]) == ("batch_size_chosen", 2)
    none = fake_run(tmp_path / "none", 1, ClusterSpec(), survives=0)
    with pytest.raises(ModelError, match=r"^model\.batch_size: auto could not be measured \(.*\); give a number$"):
        batch_sizes_at_cost(none, JsonLog())
    failed = read_cost(none.store).actor_seconds
    assert failed > 0, "what fails has a cost, too"
    batch_sizes_at_cost(replace(none, context=run.context), JsonLog())
    assert read_cost(none.store).actor_seconds > failed + 1.0
    nodes.remove(node)


def test_of_two_units_in_a_process_that_dies_one_is_charged(nodes: Nodes, tmp_path: Path) -> None:
    from engine.cluster.driver import generate

    run = fake_run(tmp_path, 4, ClusterSpec(max_actors=1), seconds=0.3)
    killed: list[psutil.Process] = []

    def interrupt(done: int, node: str) -> None:
        if done == 1:  # the second unit is being made, and the third one is behind it
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it ended meanwhile
                    if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::UnitActor"):
                        process.kill()
                        killed.append(process)

    progress = Watched(interrupt)
    node = nodes.add()
    generate(run, progress)
    nodes.remove(node)
    assert len(made_by(run)) == 4
    assert len(killed) == 1
    (failed,) = [text for text, _ in progress.told("unit_attempt_failed")]
    assert "(1 of 3 attempts used)" in failed
