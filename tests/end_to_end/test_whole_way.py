"""The whole way: the shipped spec, one command, the embedded model, and the verdict that it helps."""

from pathlib import Path

import pytest

from engine.evaluation.measure_result import MeasureResult
from engine.evaluation.sweep_result import SweepResult
from engine.report.verdict_text import verdict
from shards.storage.open_store import open_store
from tests.conftest import Jobs, text_of

# Fewer alphas, seeds and steps than the demo's, and fewer and smaller images.
FEWER = (
    *("sweep.alphas=[0.5]", "sweep.seeds=2", "train.steps=120"),
    *("plan.balance_to=80", "output.image.size=16", "cluster.max_actors=1"),
)
SETTINGS = [word for setting in FEWER for word in ("--set", setting)]


@pytest.mark.usefixtures("shared_ray")
def test_synthetic_images_help_where_real_ones_are_few(jobs: Jobs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    completed = jobs("experiment", "jobs/specs/digits.yaml", "--out", run, *SETTINGS)
    assert completed.returncode == 0, text_of(completed)
    assert f"report: {run}/report.html" in completed.stdout
    verified = jobs("verify", run)
    assert verified.returncode == 0, text_of(verified)
    assert "700 images" in verified.stdout

    store = open_store(run)
    result, measured = SweepResult.read(store), MeasureResult.read(store)
    assert result is not None
    assert list(result.by_name) == ["alpha-0", "alpha-0.5", "augmentation", "oracle"]
    assert [len(arm.quality_per_seed) for arm in result.by_name.values()] == [2] * 4
    assert measured is not None
    assert {row.class_name for row in measured.rows} >= set(result.classes)
    assert result.alpha_star == 0.5
    assert result.chosen.lift.low > 0, "the gain is beyond noise"
    # At least half of the gap between all-real and a classifier of all real images; measured: about nine tenths.
    assert result.oracle is not None
    assert result.gap_closed is not None
    assert result.oracle.lift.mean > 0.03
    assert result.gap_closed >= 0.5
    assert verdict(result) in (run / "report.html").read_text()

    again = jobs("sweep", "jobs/specs/digits.yaml", "--out", run, *SETTINGS)
    assert again.returncode == 0, text_of(again)
    assert "seed" not in again.stdout, "no training is repeated"
    assert SweepResult.read(store) == result
