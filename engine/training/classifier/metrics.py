"""Scores from a confusion matrix and confidences. Pure; fractions are 0 to 1.

Classes that occur neither in truth nor in predictions are left out of every mean over classes.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engine.config.strict import Strict

Labels = NDArray[np.int64]
Confusion = NDArray[np.int64]
"""(classes, classes): the row is the true class, the column the predicted one."""

_BINS = 15


@dataclass(frozen=True)
class Outcome:
    """What a network predicted for a set of images, or for the pixels of masks.

    loss: mean cross-entropy in nats. right, confidence: by image, the latter of the predicted class; None for masks.
    """

    confusion: Confusion
    loss: float
    right: NDArray[np.bool_] | None = None
    confidence: NDArray[np.float64] | None = None


class Scores(Strict):
    """Scores of one network on one set of images, or for masks on their pixels.

    Each number is in TensorBoard and in metrics.parquet, and its mean over seeds in sweep.json. The report shows the
    fractions that have a title, of classifiers.
    """

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    macro_f1: float = Field(title="macro F1")
    weighted_f1: float
    recall: tuple[float | None, ...]
    """By class; None for a class without images."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows are true classes."""
    calibration_error: float | None = None
    """None for masks."""
    mean_iou: float | None = None
    """None for classifiers."""

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Compute all scores."""
        confusion, confidence, right = outcome.confusion, outcome.confidence, outcome.right
        return cls(
            loss=outcome.loss,
            accuracy=accuracy(confusion),
            macro_f1=macro_f1(confusion),
            weighted_f1=weighted_f1(confusion),
            recall=recall(confusion),
            confusion=tuple(map(tuple, confusion.tolist())),
            calibration_error=None if confidence is None or right is None else calibration_error(confidence, right),
            mean_iou=mean_iou(confusion) if confidence is None else None,
        )

    @property
    def quality(self) -> float:
        """The score that the best weights are chosen by: mean IoU for masks, else accuracy."""
        return self.accuracy if self.mean_iou is None else self.mean_iou


_BY_CLASS = ("recall", "confusion")
NUMBERS = tuple(name for name in Scores.model_fields if name not in _BY_CLASS)
"""The scores that are one number, or None."""
TITLES = {name: field.title for name, field in Scores.model_fields.items() if field.title}
"""Those that the report shows, with their headings."""


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> Confusion:
    """Count pairs of true and predicted labels, both from 0 to classes - 1."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def accuracy(confusion: Confusion) -> float:
    """Return the share of right predictions."""
    return float(np.trace(confusion) / confusion.sum())


def recall(confusion: Confusion) -> tuple[float | None, ...]:
    """Return the share of each true class that was predicted right; None for a class that does not occur."""
    right, total = np.diag(confusion), confusion.sum(axis=1)
    return tuple(float(hits / count) if count else None for hits, count in zip(right, total, strict=True))


def macro_f1(confusion: Confusion) -> float:
    """Return the mean over classes of the harmonic mean of precision and recall."""
    return float(_f1(confusion)[_occurring(confusion)].mean())


def weighted_f1(confusion: Confusion) -> float:
    """Return the mean F1 over classes, weighted by the number of each true class."""
    return float(np.average(_f1(confusion), weights=confusion.sum(axis=1)))


def mean_iou(confusion: Confusion) -> float:
    """Return the mean over classes of intersection over union of true and predicted."""
    right, occurring = np.diag(confusion), _occurring(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return float((right[occurring] / union[occurring]).mean())


def image_quality(confusion: Confusion) -> float:
    """Return the mean IoU of one image, whose pixels `confusion` counts; 1 if no pixel has a class."""
    return mean_iou(confusion) if confusion.any() else 1.0


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017), 15 bins."""
    edges = np.linspace(0, 1, _BINS + 1)
    bins = np.digitize(confidence, edges[1:-1], right=True)
    gap = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def _f1(confusion: Confusion) -> NDArray[np.float64]:
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    zeros = np.zeros(len(confusion))
    f1: NDArray[np.float64] = np.divide(2 * np.diag(confusion), total, out=zeros, where=total > 0)
    return f1


def _occurring(confusion: Confusion) -> NDArray[np.bool_]:
    occurring: NDArray[np.bool_] = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return occurring
