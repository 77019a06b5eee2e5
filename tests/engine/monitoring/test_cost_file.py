"""The recorded cost of a run, which counts when the run is resumed."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from engine.errors import Stopped
from engine.monitoring.budget import CostMeter, CostRecorder, read_cost, total_duration
from engine.monitoring.estimate import estimate
from engine.monitoring.log import TextLog
from engine.monitoring.run_status import read_status
from engine.report.page import render
from shards.errors import ShardError
from shards.storage.open_store import open_store
from shards.storage.store import Store
from tests.engine import small_run

POOL = {"actors": 3, "loading": 0, "waiting": 3}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path if request.param == "folder" else f"memory://{tmp_path.name}")


def work(run_store: Store, folder: Path, seconds: float, *overrides: str) -> CostMeter:
    """Run a command that holds three actors for some time, finishes nothing, and is stopped."""
    clock, spec = Clock(), small_run.begin(folder, *(overrides or ["budget.gpu_hours=0.01"])).context.spec
    meter = CostMeter(spec, [], read_cost(run_store), clock)
    with suppress(Stopped), CostRecorder(run_store, meter, TextLog()) as file:
        meter.tick(3)
        file.tick(**POOL)
        clock.now += seconds
        meter.tick(0)
        raise Stopped("by SIGTERM")
    return meter


def test_commands_that_finish_no_unit_spend_the_budget(store: Store, tmp_path: Path) -> None:
    assert work(store, tmp_path, 5.0).exhausted() is None
    assert read_cost(store).actor_seconds == pytest.approx(15)
    assert work(store, tmp_path, 5.0).exhausted() is None
    assert work(store, tmp_path, 5.0).exhausted() is not None, "the budget also ends a run that restarts forever"
    content = json.loads(store.read("cost.json"))
    hours = pytest.approx(0.0125, abs=1e-6)
    assert content == {"actor_seconds": 45.0, "actor_hours": hours, "dollars": None, "unpriced_hours": hours}


def test_each_command_counts_at_its_own_gpus_and_price(store: Store, tmp_path: Path) -> None:
    gpu, quarter = "cluster.gpus_per_actor=1", "cluster.gpus_per_actor=0.25"
    dear, cheap = "budget.price_per_gpu_hour=3", "budget.price_per_gpu_hour=1"
    hour = 3600 / 3
    assert str(work(store, tmp_path / "1", hour, gpu, dear).cost) == "1.00 GPU hours, $3.00"
    limit = "budget.gpu_hours=1.5"
    assert work(store, tmp_path / "2", 2 * hour, quarter, cheap, limit).exhausted() == (
        "budget.gpu_hours 1.5 is spent (1.50 GPU hours, $3.50); raise it and run the same command again to continue"
    )
    assert str(work(store, tmp_path / "3", hour, gpu).cost) == "2.50 GPU hours, $3.50", (
        "the latest command has no price"
    )
    assert str(work(store, tmp_path / "4", hour, gpu, cheap).cost) == "3.50 GPU hours, $5.50", (
        "the unpriced hour counts at the current price"
    )
    run = small_run.make(small_run.begin(tmp_path / "5", quarter, dear), 0)
    run.store.replace("cost.json", store.read("cost.json"))
    assert str(read_status(run, 0.0).cost) == str(estimate(run).spent) == "3.50 GPU hours, $5.50"
    text = render(run)
    assert "3.50" in text
    assert "$5.50" in text
    assert "at the prices in the spec of each command" in text


def test_the_cost_of_short_commands_is_not_rounded_away(store: Store, tmp_path: Path) -> None:
    for number in range(10):
        work(store, tmp_path / str(number), 0.1, "budget.price_per_gpu_hour=1")
    assert read_cost(store).hours == pytest.approx(3 / 3600, rel=0.01)
    assert read_cost(store).dollars == pytest.approx(3 / 3600, rel=0.01)


def test_it_is_at_least_the_time_of_the_finished_units(tmp_path: Path) -> None:
    run = small_run.make(small_run.begin(tmp_path), 0, 1)
    took = total_duration(run.stats().values())
    assert read_status(run, 0.0).cost.actor_seconds == took, "the run has no cost file yet"
    little = b'{"actor_seconds": 0.0001, "actor_hours": 1e-7, "dollars": null, "unpriced_hours": 1e-7}'
    run.store.replace("cost.json", little)
    assert read_status(run, 0.0).cost.actor_seconds == pytest.approx(took)
    run.store.replace("cost.json", b'{"actor_seconds": 7200, "actor_hours": 2, "dollars": null, "unpriced_hours": 2}')
    assert read_status(run, 0.0).cost.hours == 2
    assert estimate(run).spent.actor_seconds == 7200
    assert (estimate(run).actor_seconds or 0) < 3600, (
        "the forecast follows the rate of units, not the time that was lost"
    )


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    run = small_run.begin(tmp_path)
    hours = b'{"actor_seconds": 1, "dollars": 1, "unpriced_hours": 0, '
    for damaged in (b"[]", b"{", b"{}", hours + b'"actor_hours": "x"}', hours + b'"actor_hours": 1, "gpu_hours": 1}'):
        run.store.replace("cost.json", damaged)
        with pytest.raises(ShardError, match=r"cost.json: damaged .*; remove it"):
            read_cost(run.store)


def test_a_store_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    spec = small_run.begin(tmp_path).context.spec
    with CostRecorder(open_store(tmp_path / "file"), CostMeter(spec, []), TextLog()):
        pass
    assert "cost.json is not up to date: " in capsys.readouterr().out
