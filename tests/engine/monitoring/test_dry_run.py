"""The printed forecast of disk, time and cost."""

import re
from pathlib import Path

import pytest

from engine.monitoring.budget import NO_COST
from engine.monitoring.dry_run import print_plan
from engine.monitoring.estimate import BatchTiming, Estimate, RemainingTime, estimate, remaining_time
from engine.run.run import Run
from tests.conftest import Jobs, text_of
from tests.engine import small_run

PRICED = ("cluster.gpus_per_actor=1", "budget.price_per_gpu_hour=2")


def printed(run: Run, capsys: pytest.CaptureFixture[str], timing: BatchTiming | None = None) -> str:
    print_plan(run, estimate(run), timing)
    return capsys.readouterr().out


def test_time_and_cost_are_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(small_run.begin(tmp_path, *PRICED), capsys)
    assert "left to make: 36 images (0 are finished), 12 batches" in text
    assert "time: unknown; --measure times one batch" in text
    assert "cost" not in text


def test_a_measured_batch_gives_time_and_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run.begin(tmp_path, *PRICED)
    text = printed(run, capsys, BatchTiming(seconds_per_batch=60.0, actors=3))
    assert "time: about 4:00 with 3 actors of 0.1 img/s each, as just measured" in text
    assert "cost: about 0.20 GPU hours, $0.40, 90 images per dollar, as just measured" in text
    assert "in all" not in text, "the spec has no budget"


@pytest.mark.usefixtures("shared_ray")
def test_an_actor_times_one_batch_and_writes_nothing(jobs: Jobs, fake_spec: Path, tmp_path: Path) -> None:
    completed = jobs("generate", fake_spec, "--out", tmp_path / "run", "--dry-run", "--measure")
    assert completed.returncode == 0, text_of(completed)
    assert re.search(r"time: about \d:\d\d with 2 actors of [\d.]+ img/s each, as just measured", completed.stdout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("batches_per_unit", "actors", "expected"),
    [
        ([2] * 6, 1, RemainingTime(1, 720, 720)),
        ([2] * 6, 4, RemainingTime(4, 720, 240)),
        ([2] * 6, 1000, RemainingTime(6, 720, 120)),
        ([5, 5, 1], 2, RemainingTime(2, 660, 360)),
        ([], 3, RemainingTime(0, 0, 0)),
    ],
)
def test_no_two_actors_share_a_unit(batches_per_unit: list[int], actors: int, expected: RemainingTime) -> None:
    rest = Estimate(36, 0, batches_per_unit, NO_COST, None)
    assert remaining_time(rest, BatchTiming(60.0, actors)) == expected


def test_a_short_last_unit_has_fewer_batches(tmp_path: Path) -> None:
    run = small_run.begin(tmp_path, "output.samples_per_shard=17")
    assert estimate(run).batches_per_unit == [5, 5, 1]


def test_finished_units_give_time_cost_and_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run.make(small_run.begin(tmp_path), 0, 1, 4)
    expected = estimate(run)
    took = sum(stats["duration_s"] for stats in run.stats().values())
    assert expected.images == 18
    assert expected.spent.actor_seconds == took
    assert expected.actor_seconds == pytest.approx(took)
    written = [path for path in (tmp_path / "run/shards").iterdir() if path.suffix in (".tar", ".parquet")]
    assert expected.disk_bytes == sum(path.stat().st_size for path in written), (
        "the remaining half needs as much disk as the finished half"
    )
    text = printed(run, capsys)
    assert "for one actor, at the speed of the finished units" in text
    assert re.search(r"cost: about 0\.00 actor hours; set budget\.price_per_gpu_hour to see dollars, at the", text)


@pytest.mark.parametrize(
    ("hours", "verdict"), [(0.1, "above budget.gpu_hours 0.1; the run will stop"), (0.3, "within the")]
)
def test_the_forecast_is_compared_with_the_budget(
    hours: float, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run.begin(tmp_path, *PRICED, f"budget.gpu_hours={hours}")
    text = printed(run, capsys, BatchTiming(60.0, 1))
    assert f"budget: 0.00 GPU hours, $0.00 spent so far, 0.20 GPU hours, $0.40 in all: {verdict}" in text
