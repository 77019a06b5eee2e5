"""The progress lines of a generation, for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.monitoring.budget import CostMeter
from engine.monitoring.log import LogFormat, open_log
from engine.monitoring.run_progress import RunProgress
from tests.engine import small_run


def logged(folder: Path, log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the log of a run of six units: one finished earlier, one finished now, and one quarantined."""
    run = small_run.make(small_run.begin(folder, "budget.price_per_gpu_hour=36"), 0, 1)
    plan, stats = run.context.plan, run.stats()
    now = [0.0]
    meter = CostMeter(run.context.spec, [stats["00000"] | {"duration_s": 100.0}], clock=lambda: now[0])
    capsys.readouterr()
    with RunProgress(plan.classes, plan.quotas, [stats["00000"]], meter, open_log(log_format)) as progress:
        meter.tick(2)
        now[0] += 50
        meter.tick(2)
        progress.tick(actors=2, loading=1, waiting=4)
        for device in ("cpu [0]", "cpu [0]", "gpu"):
            progress.actor_ready(device, "n1")
        progress.log("a [note]", device="cpu")
        progress.unit_done(stats["00001"] | {"rejected": {"blank": 2}, "duration_s": 0.1})
        progress.unit_failed("ValueError: bad", 6)
    return capsys.readouterr().out.splitlines()


def test_lines_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, ready, other, note, last = (line.partition(" ")[2] for line in logged(tmp_path, "text", capsys))
    assert first == "6 of 36 images | 0.0 img/s | 2 actors | 1 loading | 0.06 actor hours, $2.00"
    assert (ready, other) == ("an actor is ready on cpu [0]", "an actor is ready on gpu"), (
        "only the first actor of each kind of device gets a line"
    )
    assert note == "a [note]"
    assert last.startswith("12 of 36 images | ")
    assert last.endswith(" | rejected: 2 blank | 1 units quarantined | 0.06 actor hours, $2.00")
    assert ", ETA " in last


def test_json_lines_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in logged(tmp_path, "json", capsys)]
    assert [line["event"] for line in lines] == [
        "progress",
        *["actor_ready"] * 3,
        "note",
        "unit_done",
        "unit_failed",
        "progress",
    ]
    assert [line["level"] for line in lines] == [*["info"] * 6, "error", "info"]
    assert all(line["time"].endswith("+00:00") for line in lines)
    first, _, again, _, note, done, failed, last = lines
    ready = ("an actor is ready on cpu [0]", "cpu [0]", "n1")
    assert (again["message"], again["device"], again["node"]) == ready, "each one is written as an event"
    assert (first["made"], first["planned"]) == (6, 36)
    assert (first["actors"], first["loading"], first["units_waiting"]) == (2, 1, 4)
    assert (first["dollars"], first["actor_hours"], first["eta_s"]) == (2.0, 0.0556, None)
    assert (note["message"], note["device"]) == ("a [note]", "cpu")
    assert (done["unit"], done["count"], done["rejected"]) == (1, 6, {"blank": 2})
    assert failed["reason"] == "ValueError: bad"
    assert (last["made"], last["rejected"], last["units_quarantined"]) == (12, {"blank": 2}, 1)
    assert last["eta_s"] == pytest.approx(18 / last["images_per_second"], abs=0.05), (
        "the quarantined unit does not count"
    )
    assert last["message"].startswith("12 of 36 images")


def test_failed_slots_count_as_done() -> None:
    progress = RunProgress(["cat"], [1000], [])
    unit = {"unit": 0, "count": 1, "kept": {"cat": 1}, "failed": {"cat": 99}, "rejected": {}, "device": "x"}
    for _ in range(5):
        progress.unit_done(unit | {"duration_s": 10.0})
    assert progress.facts()["eta_s"] == pytest.approx(10, rel=0.2), "half of the slots took ten seconds"
