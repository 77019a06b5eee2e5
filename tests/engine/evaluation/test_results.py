"""Stored results: writing and reading round-trips, and an error names a damaged file and the remedy."""

import json
from pathlib import Path

import pytest

from engine.errors import RunMismatch
from engine.evaluation.measure_result import CopySearch, EncoderInfo, MeasureResult, ReferenceSplit
from engine.evaluation.sweep_result import SweepResult, TrialPredictions, TrialResult
from engine.training.classifier.metrics import Scores
from shards.storage.open_store import open_store
from tests.engine.evaluation.arm_qualities import quality, result

MEASURED = MeasureResult(
    encoder=EncoderInfo(name="/models/dino/", revision="", description="", knows_classes=False),
    reference=ReferenceSplit(split="validation", images=3),
    classes=("a",),
    columns=(),
    rows=(),
    outliers=(),
    copies=CopySearch(count=0, real_images=3, listed=()),
    closest=(),
    fingerprint="",
)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert SweepResult.read(store) is MeasureResult.read(store) is TrialResult.read(store, "x-3.json") is None
    swept = result({0.0: quality(0.8), 0.5: quality(0.9), "oracle": quality(1.0), "weights": quality(0.7)})
    scores = Scores(
        loss=float("inf"), accuracy=0.5, macro_f1=0.5, weighted_f1=0.5, recall=(0.5, None), confusion=((1, 1), (0, 0))
    )
    trial = TrialResult(
        arm="x",
        seed=3,
        fingerprint="",
        scores={"validation": scores},
        predictions={"validation": TrialPredictions(quality=(1.0, 0.0), predicted=(0, 1), confidence=(0.5, 0.9))},
    )
    swept.write(store)
    MEASURED.write(store)
    trial.write(store, "x-3.json")
    assert SweepResult.read(store) == swept
    assert MeasureResult.read(store) == MEASURED
    assert TrialResult.read(store, "x-3.json") == trial
    assert MEASURED.encoder.short_name == "dino"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alpha_star": 0.75}, "no arm has alpha 0 or alpha_star 0.75"),
        ({"classes": ["a", "b"]}, "0.0: recall or confusion are not of 2 classes"),
        ({"best_baseline": "x"}, "best_synthetic or best_baseline is no arm"),
        ({"real_images": {}}, "real_images has other splits"),
        ({"seeds": "3"}, "seeds: Input should be a valid integer"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
    ],
)
def test_a_sweep_result_that_contradicts_itself_is_damaged(tmp_path: Path, changes: object, reason: str) -> None:
    store = open_store(tmp_path)
    result({0.0: quality(0.8), 0.5: quality(0.9)}).write(store)
    content = json.loads(store.read("sweep.json"))
    store.replace("sweep.json", json.dumps(content | changes).encode())  # type: ignore[operator]
    with pytest.raises(RunMismatch, match=rf"sweep\.json: damaged \(.*{reason}.*\); run sweep again"):
        SweepResult.read(store)


def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    MEASURED.write(store)
    store.replace("measures.json", store.read("measures.json")[:-20])
    with pytest.raises(RunMismatch, match=r"measures\.json: damaged \(Invalid JSON.*\); run measure again"):
        MeasureResult.read(store)
