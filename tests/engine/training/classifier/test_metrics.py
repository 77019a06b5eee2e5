"""Metrics equal those of scikit-learn, and the calibration error equals its definition."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, recall_score

from engine.training.classifier import metrics

CLASSES = 4
labels = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


@given(labels)
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    confusion = metrics.confusion_matrix(truth, predicted, CLASSES)
    assert confusion.sum() == len(pairs)
    assert metrics.accuracy(confusion) == pytest.approx(accuracy_score(truth, predicted))
    for ours, average in ((metrics.macro_f1, "macro"), (metrics.weighted_f1, "weighted")):
        assert ours(confusion) == pytest.approx(f1_score(truth, predicted, average=average, zero_division=0))
    assert metrics.mean_iou(confusion) == pytest.approx(
        jaccard_score(truth, predicted, average="macro", zero_division=0)
    )
    theirs = recall_score(truth, predicted, labels=range(CLASSES), average=None, zero_division=np.nan)
    for ours, reference in zip(metrics.recall(confusion), theirs, strict=True):
        assert (ours is None and math.isnan(reference)) or ours == pytest.approx(reference)


@given(st.lists(st.tuples(st.floats(1e-3, 1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_the_weighted_gap_of_15_bins(pairs: list[tuple[float, bool]]) -> None:
    confidence, right = (np.array(column) for column in zip(*pairs, strict=True))
    edges, expected = np.linspace(0, 1, 16), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.calibration_error(confidence, right) == pytest.approx(expected)


def test_confidence_equal_to_accuracy_is_calibrated() -> None:
    right = np.array([True, True, True, False])
    assert metrics.calibration_error(np.full(4, 0.75), right) == pytest.approx(0)
    assert metrics.calibration_error(np.full(4, 1.0), right) == pytest.approx(0.25)
