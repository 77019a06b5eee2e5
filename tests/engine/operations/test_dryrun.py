"""What a plan says of disk, time and money before they are spent."""

import re
from pathlib import Path

import pytest

from engine.monitoring.dry_run import print_plan
from engine.monitoring.estimate import Pace, estimate
from engine.run.run import Run
from tests.engine import partial

PRICED = ("cluster.gpus_per_actor=1", "budget.price_per_gpu_hour=2")


def printed(run: Run, capsys: pytest.CaptureFixture[str], pace: Pace | None = None) -> str:
    print_plan(run, estimate(run), pace)
    return capsys.readouterr().out


def test_nothing_is_guessed_of_time_and_money(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(partial.begin(tmp_path, *PRICED), capsys)
    assert "left to make: 36 images (0 are finished), 12 batches" in text
    assert "time: --measure makes one batch, and says" in text
    assert "cost" not in text


def test_a_measured_batch_tells_time_hours_price_and_images_per_dollar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = partial.begin(tmp_path, *PRICED)
    text = printed(run, capsys, Pace(seconds_per_batch=60.0, actors=3))
    assert "time: about 4:00 with 3 actors of 0.1 img/s each, as just measured" in text
    assert "cost: about 0.20 GPU hours, $0.40, 90 images per dollar, as just measured" in text
    assert "in all" not in text, "there is no budget to speak of"


@pytest.mark.parametrize(("actors", "line"), [(1, "12:00 with 1"), (4, "4:00 with 4"), (1000, "2:00 with 6")])
def test_no_two_actors_share_a_unit(actors: int, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(partial.begin(tmp_path), capsys, Pace(60.0, actors))
    assert f"time: about {line} actors of 0.1 img/s each, as just measured" in text, "six units of two batches"


def test_a_last_unit_that_is_short_takes_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = partial.begin(tmp_path, "output.samples_per_shard=17")
    assert estimate(run).batches == [5, 5, 1]
    assert "time: about 6:00 with 2 actors of" in printed(run, capsys, Pace(60.0, 2))


def test_finished_units_tell_what_the_others_will_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = partial.make(partial.begin(tmp_path), 0, 1, 4)
    expected = estimate(run)
    took = sum(one["duration_s"] for one in run.stats().values())
    assert expected.images == 18
    assert expected.spent.actor_seconds == took
    assert expected.left_s == pytest.approx(took)
    written = [path for path in (tmp_path / "run/shards").iterdir() if path.suffix in (".tar", ".parquet")]
    assert expected.disk_bytes == sum(path.stat().st_size for path in written), "as the finished half"
    text = printed(run, capsys)
    assert "for one actor, as the finished units went" in text
    assert re.search(r"cost: about 0\.00 actor hours; a price comes with budget\.price_per_gpu_hour, as the", text)


@pytest.mark.parametrize(("hours", "verdict"), [(0.1, "more than budget.gpu_hours 0.1 allows"), (0.3, "within the")])
def test_the_budget_is_held_against_the_plan(
    hours: float, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = partial.begin(tmp_path, *PRICED, f"budget.gpu_hours={hours}")
    text = printed(run, capsys, Pace(60.0, 1))
    assert f"with the 0.00 GPU hours, $0.00 that are spent, 0.20 GPU hours, $0.40 in all: {verdict}" in text
