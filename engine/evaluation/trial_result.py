"""The result of one training of a sweep, RUN/sweep/<arm>-<seed>.json."""

from typing import Self

from engine.config.strict import Strict
from engine.run.stored_result import StoredResult
from engine.training.classifier.metrics import Scores
from shards.storage.store import Store


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

    arm: str
    seed: int
    fingerprint: str
    """Digest of the training's settings and images."""
    scores: dict[str, Scores]
    predictions: dict[str, TrialPredictions]

    @classmethod
    def read(cls, folder: Store, trial: str) -> Self | None:
        """Return the result of a trial, or None before it is trained. Raises RunMismatch if the file is damaged."""
        return cls.load(folder, f"{trial}.json", "remove it and run sweep again")

    def write(self, folder: Store) -> None:
        """Write RUN/sweep/<arm>-<seed>.json."""
        self.save(folder, f"{self.arm}-{self.seed}.json")
