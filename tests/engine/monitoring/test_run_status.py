"""The status of a run, derived from its output only."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.monitoring.budget import NO_COST
from engine.monitoring.run_status import RunOutput, read_status, summarize
from engine.profiling import STAGES
from engine.run.run import Run
from engine.run.run_context import RunContext
from tests.conftest import Jobs, text_of
from tests.engine import small_run

START = 1_000_000.0


def stamp(run: Run, ended: dict[int, float], took: float = 10.0, slow: dict[int, float] | None = None) -> None:
    """Set the end of these units, in seconds after START, and the duration of each."""
    for unit, at in ended.items():
        path = run.store.local / "shards" / f"{run.context.plan.shard_name(unit)}_stats.json"
        stats = json.loads(path.read_text()) | {"duration_s": (slow or {}).get(unit, took)}
        path.write_text(json.dumps(stats))
        os.utime(path, (START + at, START + at))


def test_the_status_of_a_running_run(tmp_path: Path) -> None:
    run = small_run.make(small_run.begin(tmp_path, "budget.price_per_gpu_hour=36"), 0, 1, 2)
    stamp(run, {0: 10, 1: 20, 2: 30})
    current = read_status(run, START + 32)
    assert (current.units, current.units_done, current.complete, current.running) == (6, 3, False, True)
    assert {progress.name for progress in current.classes} == {"cat", "sea lion", "größe"}
    assert all(progress.planned == 12 for progress in current.classes)
    assert sum(progress.kept for progress in current.classes) == 18
    assert current.images_per_second == pytest.approx(18 / 30)
    assert current.eta_s == pytest.approx(30)
    assert current.idle_s == pytest.approx(2)
    assert current.cost.dollars == pytest.approx(30 / 3600 * 36)
    assert current.disk_bytes == sum(
        path.stat().st_size for path in (run.store.local / "shards").iterdir() if path.suffix in (".tar", ".parquet")
    )


def test_the_rate_is_of_the_time_since_the_last_pause(tmp_path: Path) -> None:
    run = small_run.make(small_run.begin(tmp_path), 0, 1, 2, 3)
    stamp(run, {0: 10, 1: 20, 2: 7000, 3: 7005}, took=5)
    current = read_status(run, START + 7010)
    assert current.images_per_second == pytest.approx(12 / 10)
    assert current.running
    later = read_status(run, START + 9000)
    assert not later.running
    assert later.eta_s is None, "a run that is stuck has no ETA"


def test_the_share_of_time_in_which_devices_waited(tmp_path: Path) -> None:
    run = small_run.make(small_run.begin(tmp_path), 0, 1, 2)
    took = {"text": 1.0, "denoise": 15.0, "decode": 2.0, "copy": 0.0, "encode": 9.0, "commit": 9.0, "wait": 2.0}
    for name, stats in run.stats().items():
        idle = dict.fromkeys(took, 0.0)
        stats["seconds"] = idle if name == "00000" else took
        run.shards.replace(f"{name}_stats.json", json.dumps(stats).encode())
        current = read_status(run, time.time())
    assert current.wait_share == pytest.approx(0.1)
    assert current.seconds == {stage: 2 * seconds for stage, seconds in took.items()}
    assert read_status(small_run.begin(tmp_path / "empty"), time.time()).wait_share is None


def test_failures_and_stragglers_are_named(tmp_path: Path) -> None:
    begun = small_run.begin(tmp_path)
    plan = begun.context.plan
    hopeless = {plan.seed_of(plan.slot(0), attempt) for attempt in range(3)}
    run = small_run.make(begun, 0, 1, 2, 4, blank=lambda request: request.seed in hopeless)
    stamp(run, {0: 10, 1: 20, 2: 30, 4: 140}, slow={4: 100.0})
    aside = run.store.local / "quarantine"
    aside.mkdir()
    for unit in (3, 4):  # the unit has been finished since
        attempts = ["Traceback (most recent call last):\n  ...\nValueError: first", "...\nValueError: bad prompt\n"]
        (aside / f"{plan.shard_name(unit)}.json").write_text(json.dumps({"unit": unit, "attempts": attempts}))
    current = read_status(run, START + 141)
    assert current.quarantined == {"00003": "ValueError: bad prompt"}
    assert current.rejected == {"blank": 3}
    assert current.failed == {"blank": 1}
    assert [(straggler.shard, straggler.seconds, straggler.device) for straggler in current.stragglers] == [
        ("00004", 100.0, "none")
    ]
    remaining = 36 - 23 - 1 - 6
    assert current.eta_s == pytest.approx(remaining / (current.images_per_second or 0)), (
        "the quarantined unit does not count"
    )


def test_failed_slots_count_as_done(tmp_path: Path) -> None:
    begun = small_run.begin(tmp_path)
    plan = begun.context.plan
    hopeless = {plan.seed_of(plan.slot(index), attempt) for index in range(36) if index % 6 for attempt in range(3)}
    run = small_run.make(begun, 0, 1, 2, blank=lambda request: request.seed in hopeless)
    stamp(run, {0: 10, 1: 20, 2: 30})
    current = read_status(run, START + 31)
    assert current.images_per_second == pytest.approx(3 / 30), "of six slots one has an image"
    assert current.eta_s == pytest.approx(30), "three units of six are left"


def test_a_run_in_an_object_store(tmp_path: Path) -> None:
    run = small_run.make(small_run.begin(tmp_path, place=f"memory://{tmp_path.name}/run"), 0, 1, 2)
    (run.store / "quarantine").replace("00004.json", json.dumps({"attempts": ["...\nOSError: x"]}).encode())
    current = read_status(run, time.time())
    assert (current.units_done, current.running, current.quarantined) == (3, True, {"00004": "OSError: x"})
    assert current.idle_s is not None
    assert current.idle_s < 60


def test_the_last_error_of_a_unit_is_read_from_its_tracebacks(tmp_path: Path) -> None:
    run = small_run.begin(tmp_path)
    died = "ray.exceptions.ActorDiedError: The actor died unexpectedly.\n\tclass_name: UnitActor\nIt is dead, says: X\n"
    texts = {"00000": ["a\nValueError: first", died], "00001": ["a\nCudaError: two\nlines"], "00002": ["nothing"]}
    for shard, attempts in texts.items():
        (run.store / "quarantine").replace(f"{shard}.json", json.dumps({"attempts": attempts}).encode())
    (run.store / "quarantine").replace("00003.json", b"{")
    damaged = "unknown: its file is damaged"
    assert read_status(run, START).quarantined == {
        "00000": "ActorDiedError: The actor died unexpectedly.",
        "00001": "CudaError: two",
        "00002": damaged,
        "00003": damaged,
    }


def test_before_the_first_unit_and_after_the_last(tmp_path: Path) -> None:
    run = small_run.begin(tmp_path)
    current = read_status(run, START)
    assert (current.units_done, current.images_per_second, current.eta_s, current.idle_s) == (0, None, None, None)
    current = read_status(small_run.make(run, *range(small_run.UNITS)), time.time())
    assert current.complete
    assert not current.running
    assert current.eta_s is None


Units = st.dictionaries(st.integers(0, small_run.UNITS - 1), st.tuples(st.floats(0, 1e5), st.floats(0.001, 1e4)))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return small_run.begin(tmp_path_factory.mktemp("run")).context


@given(Units, st.floats(0, 1e5))
def test_the_status_is_consistent_for_any_clocks(
    context: RunContext, units: dict[int, tuple[float, float]], now: float
) -> None:
    none = {"kept": {}, "failed": {}, "rejected": {}, "failures": [], "files": [], "device": "x"}
    none |= {"seconds": dict.fromkeys(STAGES, 0.0)}
    stats = {
        context.plan.shard_name(unit): none | {"unit": unit, "count": 6, "kept": {"cat": 6}, "duration_s": took}
        for unit, (_, took) in units.items()
    }
    ended = {context.plan.shard_name(unit): at for unit, (at, _) in units.items()}
    current = summarize(context, RunOutput(stats, ended, {}, NO_COST), now)
    assert current.units_done == len(units)
    assert current.complete == (len(units) == small_run.UNITS)
    assert (current.idle_s is None) == (not units)
    assert current.idle_s is None or current.idle_s >= 0
    assert current.images_per_second is None or current.images_per_second > 0
    if current.eta_s is not None:
        assert current.running
        assert current.eta_s * current.images_per_second == pytest.approx(36 - 6 * len(units))  # type: ignore[operator]
    slow = {straggler.shard for straggler in current.stragglers}
    median = current.median_s or 0.0
    assert slow == {shard for shard, unit_stats in stats.items() if float(unit_stats["duration_s"]) > 3 * median}
    json.dumps(current.as_json(), allow_nan=False)


def test_the_command_prints_text_or_json(tmp_path: Path, jobs: Jobs) -> None:
    run = small_run.make(small_run.begin(tmp_path), 0, 1, 2, 3, 5)
    stamp(run, dict.fromkeys((0, 1, 2, 3), 10.0) | {5: 200.0}, slow={5: 99.0})
    shown = jobs("status", run.store.url)
    assert shown.returncode == 0, text_of(shown)
    for part in (
        "three: 30 of 36 images | 5 of 6 units | ",
        "größe",
        "; the run is stuck or has ended",
        "stragglers, over 3 times the median of 10.0 s:",
        "  00005: 99.0 s on none",
        "actor hours so far",
    ):
        assert part in shown.stdout, part
    small_run.make(run, 4)
    complete = jobs("status", run.store.url, "--json", "--watch", "60")  # which ends at once, for the run is complete
    assert complete.returncode == 0, text_of(complete)
    current = json.loads(complete.stdout)
    assert current["complete"]
    assert current["classes"][0] == {"name": "cat", "planned": 12, "kept": 12, "failed": 0}
    assert current["stragglers"][0]["shard"] == "00005"
    refused = jobs("status", tmp_path)
    assert refused.returncode == 2
    assert "not a run, it lacks" in refused.stderr
