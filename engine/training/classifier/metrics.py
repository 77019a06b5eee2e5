"""What a confusion matrix and confidences say. Pure; fractions are 0 to 1.

Classes that stand neither in truth nor in predictions do not count in any mean over classes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Confusion = NDArray[np.int64]
"""(classes, classes): row the true class, column the predicted one."""

_BINS = 15


@dataclass(frozen=True)
class Scores:
    """Of one network on one set of images; for masks they count pixels.

    loss:              mean cross-entropy in nats.
    recall:            of each class; None for one that is not there.
    calibration_error: None for masks. mean_iou: None for classifiers.
    confusion:         rows are true classes.
    """

    loss: float
    accuracy: float
    macro_f1: float
    weighted_f1: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float | None = None
    mean_iou: float | None = None

    @property
    def quality(self) -> float:
        """What the best weights are chosen by: mean IoU for masks, else accuracy."""
        return self.accuracy if self.mean_iou is None else self.mean_iou

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> Confusion:
    """Counts of (true, predicted); both are from 0 to classes - 1."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def accuracy(confusion: Confusion) -> float:
    """Share of right predictions."""
    return float(np.trace(confusion) / confusion.sum())


def recall(confusion: Confusion) -> tuple[float | None, ...]:
    """Share of each true class that was found; None for a class that is not there."""
    right, count = np.diag(confusion), confusion.sum(axis=1)
    return tuple(float(a / b) if b else None for a, b in zip(right, count, strict=True))


def macro_f1(confusion: Confusion) -> float:
    """Mean over classes of the harmonic mean of precision and recall."""
    return float(_f1(confusion)[_there(confusion)].mean())


def weighted_f1(confusion: Confusion) -> float:
    """The same, weighted by how often a class is the true one."""
    return float(np.average(_f1(confusion), weights=confusion.sum(axis=1)))


def mean_iou(confusion: Confusion) -> float:
    """Mean over classes of intersection over union of true and predicted."""
    right, there = np.diag(confusion), _there(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return float((right[there] / union[there]).mean())


def image_quality(confusion: Confusion) -> float:
    """Of one image, whose pixels `confusion` counts: mean IoU over the classes that are there in truth or prediction; 1
    where no pixel has a class, for nothing can be wrong."""
    return mean_iou(confusion) if confusion.any() else 1.0


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: |accuracy - confidence| in 15 equal bins of confidence, weighted by their counts (Guo
    et al., "On Calibration of Modern Neural Networks", 2017)."""
    edges = np.linspace(0, 1, _BINS + 1)
    which = np.digitize(confidence, edges[1:-1], right=True)
    gap = np.bincount(which, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def _f1(confusion: Confusion) -> NDArray[np.float64]:
    found = confusion.sum(axis=0) + confusion.sum(axis=1)
    zero = np.zeros(len(confusion))
    f1: NDArray[np.float64] = np.divide(2 * np.diag(confusion), found, out=zero, where=found > 0)
    return f1


def _there(confusion: Confusion) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return there
