"""Qualities of arms with known accuracies, and the sweep results that follow from them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.config.spec import ORACLE
from engine.config.train_spec import TrainSpec
from engine.data.splits import SPLITS
from engine.evaluation.intervals import ArmComparison, compare_arms
from engine.evaluation.sweep_result import ArmResult, NearCopies, SweepResult

Floats = NDArray[np.float64]
Qualities = Mapping[float | str, Floats]
"""By alpha, ORACLE, or name of an alternative; names with `synthetic` have such images."""


def quality(accuracy: float, seeds: int = 3, images: int = 400) -> Floats:
    """Return qualities that are right on the same first images for every arm, as hard images are hard for all."""
    return np.tile(np.arange(images) < accuracy * images, (seeds, 1)).astype(float)


def random_quality(random: np.random.Generator, accuracy: float, images: int = 400) -> Floats:
    return 1.0 * (random.random((3, images)) < accuracy)


def compare(validation: Qualities, test: Qualities | None = None) -> ArmComparison:
    return compare_arms(
        curve={alpha: str(alpha) for alpha in validation if isinstance(alpha, float)},
        oracle=ORACLE if ORACLE in validation else None,
        alternatives={name: "synthetic" in name for name in validation if isinstance(name, str) and name != ORACLE},
        validation={str(arm): of_arm for arm, of_arm in validation.items()},
        test=None if test is None else {str(arm): of_arm for arm, of_arm in test.items()},
    )


def result(validation: Qualities, test: Qualities | None = None, *, masks: bool = False) -> SweepResult:
    """Return the result of a sweep with one class."""
    comparison = compare(validation, test)

    def arm(name: float | str) -> ArmResult:
        return ArmResult(
            name=str(name),
            alpha=name if isinstance(name, float) else None,
            changes={},
            quality=comparison.qualities[str(name)],
            lift=comparison.lifts[str(name)],
            quality_per_seed=(),
            macro_f1=None,
            scores={"macro_f1": 0.5},
            recall=(None,),
            confusion=((0,),),
        )

    return SweepResult(
        metric="mean_iou" if masks else "accuracy",
        classes=("x",),
        arms=tuple(arm(alpha) for alpha in validation if isinstance(alpha, float)),
        alternatives=tuple(arm(name) for name in validation if isinstance(name, str) and name != ORACLE),
        oracle=arm(ORACLE) if ORACLE in validation else None,
        **dict(comparison.verdict),
        seeds=3,
        train=TrainSpec(),
        real_images=dict.fromkeys(SPLITS, 0),
        near_copies=NearCopies(count=0, listed=()),
        fingerprint="",
    )
