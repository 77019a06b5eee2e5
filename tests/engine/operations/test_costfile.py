"""What a run has cost is written down, and counts when it is begun anew."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Stopped
from engine.operations.budget import Meter
from engine.operations.costfile import CostFile, spent_s
from engine.operations.estimate import estimate
from engine.operations.log import TextLog
from engine.operations.status import status
from shards.errors import ShardError
from shards.store import Store, open_store
from tests.engine import partial

COUNTS: dict[str, Any] = {"actors": 3, "loading": 0, "waiting": 3}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path if request.param == "folder" else f"memory://{tmp_path.name}")


def work(run_store: Store, folder: Path, seconds: float) -> Meter:
    """A command that holds three actors for so long, finishes nothing, and is stopped."""
    clock, spec = Clock(), partial.begin(folder, "budget.gpu_hours=0.01").recipe.spec
    meter = Meter(spec, [], spent_s(run_store, []), clock)
    with suppress(Stopped), CostFile(run_store, meter, TextLog()) as file:
        meter.tick(3)
        file.tick(**COUNTS)
        clock.now += seconds
        meter.tick(0)
        raise Stopped("by SIGTERM")
    return meter


def test_commands_that_finish_nothing_add_up_until_the_budget_is_spent(store: Store, tmp_path: Path) -> None:
    assert work(store, tmp_path, 5.0).exhausted() is None
    assert spent_s(store, []) == pytest.approx(15)
    assert work(store, tmp_path, 5.0).exhausted() is None
    assert work(store, tmp_path, 5.0).exhausted() is not None, "which a run that restarts for ever needs"
    assert spent_s(store, []) == pytest.approx(45)
    assert json.loads(store.read("cost.json")) == {"actor_seconds": 45.0, "actor_hours": 0.0125, "dollars": None}


def test_it_is_at_least_what_the_finished_units_took(tmp_path: Path) -> None:
    run = partial.make(partial.begin(tmp_path), 0, 1)
    took = sum(one["duration_s"] for one in run.stats().values())
    assert spent_s(run.store, run.stats().values()) == took, "a run of a version that wrote no such file"
    run.store.replace("cost.json", b'{"actor_seconds": 0.0001}')
    assert spent_s(run.store, run.stats().values()) == took
    run.store.replace("cost.json", b'{"actor_seconds": 7200}')
    assert status(run, 0.0).cost.hours == 2
    assert estimate(run).spent_s == 7200
    assert (estimate(run).left_s or 0) < 3600, "what is left goes as units go, not as time was lost"
    run.store.replace("cost.json", b"[]")
    with pytest.raises(ShardError, match=r"cost.json: damaged .*; remove it"):
        status(run, 0.0)


def test_a_store_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    spec = partial.begin(tmp_path).recipe.spec
    with CostFile(open_store(tmp_path / "file"), Meter(spec, []), TextLog()):
        pass
    assert "cost.json is not up to date: " in capsys.readouterr().out
