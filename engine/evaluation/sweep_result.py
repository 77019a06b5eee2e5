"""The results of a sweep: RUN/sweep.json, and RUN/sweep/<arm>-<seed>.json of each training.

All qualities, lifts, recalls and shares are fractions, 0 to 1. Intervals are 95% intervals.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from engine.config.strict import Count, Share, Strict
from engine.config.train_spec import TrainSpec
from engine.data.splits import SPLITS
from engine.run.stored_result import StoredResult
from engine.training.classifier.metrics import Scores


class Interval(Strict):
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


class ArmResult(Strict):
    """The trainings of one arm at every seed, judged on real validation images."""

    name: str
    alpha: float | None
    """Synthetic fraction of an arm of the curve; None for the oracle and for alternatives."""
    changes: dict[str, Any]
    """What an alternative changes in the spec's `train` section; empty for other arms."""
    quality: Interval
    """Accuracy, or mean IoU for masks."""
    lift: Interval
    """Quality above the baseline's. At alpha_star it is optimistic, because the same images chose alpha."""
    quality_per_seed: tuple[float, ...]
    """Quality of each training, in the order of seeds."""
    macro_f1: Interval | None
    """None for masks."""
    scores: dict[str, float]
    """Means over seeds of all `Scores` that are one number."""
    recall: tuple[float | None, ...]
    """Recall of each class, mean over seeds; None for a class without images."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts summed over seeds: a row for each true class, a column for each predicted one."""


class NearCopy(Strict):
    """The keys of a held-out image and of the training image, real or synthetic, that it looks like."""

    held_out: str
    train: str
    mirrored: bool
    """Whether one is the mirror image of the other."""
    distance_ratio: float
    """Distance of their thumbnails as a share of the usual distance of training images to each other."""


class NearCopies(Strict):
    """Held-out images that look like training images: their number, and the clearest ones."""

    count: int
    listed: tuple[NearCopy, ...]


class SweepVerdict(Strict):
    """The chosen alpha, its confirmation on test, and the best arms."""

    alpha_star: Share
    """Alpha of the best mean on validation."""
    alpha_star_range: tuple[Share, Share]
    """Range that holds the best alpha in 95% of bootstrap replicates."""
    test_lift: Interval | None
    """Lift of the arm at alpha_star on the test split, which chose nothing; None without a test split."""
    gap_closed: float | None
    """Lift at alpha_star as a share of the oracle's lift; None unless the oracle is clearly above the baseline."""
    best_synthetic: str
    """Name of the best arm with synthetic images: the one at alpha_star, or an alternative that is better."""
    best_baseline: str | None
    """Name of the best alternative without synthetic images; None if there is none."""
    lead_over_best_baseline: Interval | None
    """Quality of best_synthetic above best_baseline."""


class SweepResult(SweepVerdict, StoredResult):
    """Arms with intervals on real validation, and what follows from them."""

    FILE: ClassVar[str] = "sweep.json"
    REMEDY: ClassVar[str] = "run sweep again, it repeats no finished training"

    metric: Literal["accuracy", "mean_iou"]
    """mean_iou for masks."""
    classes: tuple[str, ...]
    """Class names in the order of recall and confusion."""
    arms: tuple[ArmResult, ...]
    """Arms of the curve by ascending alpha; alpha 0 is the baseline of real images alone."""
    alternatives: tuple[ArmResult, ...]
    """Arms of the spec's `sweep.arms`."""
    oracle: ArmResult | None
    """The arm with all real images of the world split; None if that split is empty."""
    seeds: Count
    """Trainings of each arm."""
    train: TrainSpec
    """Settings of the baseline at seed 0. `total` is the number of images of each arm if that is fixed."""
    real_images: dict[str, int]
    """Number of real images of each split."""
    near_copies: NearCopies
    fingerprint: str
    """Digest of the plan and all real images."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not {0.0, self.alpha_star} <= self.by_alpha.keys():
            raise ValueError(f"no arm has alpha 0 or alpha_star {self.alpha_star:g}")
        if self.real_images.keys() != set(SPLITS):
            raise ValueError(f"real_images has other splits than {', '.join(SPLITS)}")
        names = self.by_name
        if not {self.best_synthetic, self.best_baseline or self.best_synthetic} <= names.keys():
            raise ValueError("best_synthetic or best_baseline is no arm")
        if (self.best_baseline is None) != (self.lead_over_best_baseline is None):
            raise ValueError("best_baseline and lead_over_best_baseline belong together")
        for arm in names.values():
            if {len(arm.recall), len(arm.confusion), *map(len, arm.confusion)} != {len(self.classes)}:
                raise ValueError(f"{arm.name}: recall or confusion are not of {len(self.classes)} classes")
        return self

    @property
    def by_alpha(self) -> Mapping[float, ArmResult]:
        """The arms of the curve."""
        return {arm.alpha: arm for arm in self.arms if arm.alpha is not None}

    @property
    def by_name(self) -> Mapping[str, ArmResult]:
        """All arms: of the curve, alternatives and the oracle."""
        every = (*self.arms, *self.alternatives, *([] if self.oracle is None else [self.oracle]))
        return {arm.name: arm for arm in every}

    @property
    def baseline(self) -> ArmResult:
        """The arm of real images alone."""
        return self.by_alpha[0.0]

    @property
    def chosen(self) -> ArmResult:
        """The arm at alpha_star."""
        return self.by_alpha[self.alpha_star]

    @property
    def best_mixture(self) -> ArmResult | None:
        """The arm of the curve with the best mean among those with synthetic images; None if there is none."""
        mixtures = [arm for arm in self.arms if arm.alpha]
        return max(mixtures, key=lambda arm: arm.quality.mean, default=None)


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
