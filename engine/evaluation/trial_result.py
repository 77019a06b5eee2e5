"""The result of one training of a sweep, RUN/sweep/<arm>-<seed>.json."""

from typing import ClassVar

from engine.config.strict import Strict
from engine.run.stored_result import StoredResult
from engine.training.classifier.metrics import Scores


class TrialPredictions(Strict):
    """Predictions for each image of a split, in the order of its shards."""

    quality: tuple[float, ...]
    """1 or 0 for a class; mean IoU for a mask."""
    predicted: tuple[int, ...] | None = None
    """Predicted label; None for masks."""
    confidence: tuple[float, ...] | None = None
    """Probability of the predicted class; None for masks."""


class TrialResult(StoredResult):
    """Scores and predictions of one trained network, by split: validation, and test if there is one."""

    REMEDY: ClassVar[str] = "remove it and run sweep again"

    arm: str
    seed: int
    fingerprint: str
    """Digest of the training's settings and images."""
    scores: dict[str, Scores]
    predictions: dict[str, TrialPredictions]
