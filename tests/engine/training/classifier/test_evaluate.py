"""The predictions of every image: correctness and mask overlap, independent of the number of ranks."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from engine.config.train_spec import TrainSpec
from engine.training.classifier import metrics
from engine.training.classifier.evaluate import MaskPredictions, evaluate
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.trainer import TrainedClassifier, Trainer
from engine.training.classifier.training_data import TrainData


@pytest.fixture(scope="module")
def trained(masked: TrainData) -> TrainedClassifier:
    return Trainer(SPEC, masked, TrainWorker()).run()


SPEC = TrainSpec.model_validate({"model": "unet", "steps": 8, "batch_size": 16, "alpha": 0.0})


def test_the_quality_of_a_mask_is_its_mean_iou(masked: TrainData, trained: TrainedClassifier) -> None:
    predictions = trained.predictions["test"]
    assert isinstance(predictions, MaskPredictions)
    batch = masked.evaluation_streams(SPEC, 1)["test"].read(range(100))
    assert list(batch.key) == list(trained.keys["test"])
    assert batch.mask is not None
    with torch.inference_mode():
        predicted = trained.model(torch.from_numpy(batch.image).permute(0, 3, 1, 2)).argmax(1).numpy()
    theirs = [jaccard_score(a.ravel(), b.ravel(), average="macro") for a, b in zip(batch.mask, predicted, strict=True)]
    assert predictions.quality == pytest.approx(theirs)
    assert 0 < min(theirs) < max(theirs) <= 1
    assert predictions.as_columns().keys() == {"quality"}


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(pairs)
def test_image_quality_averages_over_occurring_classes(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    quality = metrics.image_quality(metrics.confusion_matrix(truth, predicted, 9))
    assert quality == pytest.approx(jaccard_score(truth, predicted, average="macro", zero_division=0))


def test_an_image_without_labelled_pixels_has_quality_one() -> None:
    assert metrics.image_quality(np.zeros((3, 3), np.int64)) == 1.0


class ThreadWorker(TrainWorker):
    """One of two ranks that are threads of this process."""

    def __init__(self, rank: int, values: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(rank=rank, world_size=2)
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_barrier", barrier)

    def gather(self, value: Any) -> list[Any]:
        self._values[self.rank] = value  # type: ignore[attr-defined]
        self._barrier.wait(60)  # type: ignore[attr-defined]
        return list(self._values)  # type: ignore[attr-defined]


def test_two_ranks_predict_the_same_in_the_order_of_the_stream(masked: TrainData, trained: TrainedClassifier) -> None:
    values, barrier, results = [None, None], threading.Barrier(2), {}

    def evaluate_rank(rank: int) -> None:
        stream = masked.evaluation_streams(SPEC, 1)["test"]
        results[rank] = evaluate(trained.model, stream, ThreadWorker(rank, values, barrier))

    threads = [threading.Thread(target=evaluate_rank, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = trained.predictions["test"].quality
    for scores, predictions in results.values():
        assert predictions.quality == pytest.approx(expected)
        assert scores.confusion == trained.scores["test"].confusion
        assert scores.mean_iou == trained.scores["test"].mean_iou


def test_the_quality_of_a_classifier_is_whether_it_is_right(world: TrainData) -> None:
    trained = Trainer(TrainSpec(steps=20, batch_size=16, alpha=0.0), world, TrainWorker()).run()
    for split, predictions in trained.predictions.items():
        assert predictions.quality.mean() == pytest.approx(trained.scores[split].accuracy)
        assert predictions.quality.dtype == np.float64
        assert predictions.as_columns().keys() == {"predicted", "confidence", "quality"}
