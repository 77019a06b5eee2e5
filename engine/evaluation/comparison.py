"""Comparison of a sweep's arms: from the results of its trials to RUN/sweep.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config.spec import ORACLE
from engine.data.splits import SPLITS
from engine.errors import RunMismatch
from engine.evaluation.intervals import ArmComparison, ArmQualities, BootstrapWeights, compare_arms, interval
from engine.evaluation.sweep import JUDGED, Arm, Sweep
from engine.evaluation.sweep_result import ArmResult, Interval, NearCopies, NearCopy, SweepResult, TrialResult
from engine.training.classifier.metrics import NUMBERS, Scores
from shards import ShardStream
from shards.storage.manifest import finished_shards

_LISTED = 20

Trials = Mapping[str, Sequence[TrialResult]]
"""The results of each arm, in the order of seeds."""


def write_sweep(sweep: Sweep, near_copies: Sequence[NearCopy]) -> SweepResult:
    """Compare all arms and write RUN/sweep.json. Raises RunMismatch if a trial has no result.

    near_copies: held-out images that look like training images, the clearest first.
    """
    trials = _trials(sweep)
    labels = {split: _labels(sweep, split) for split in SPLITS}
    qualities = {split: _qualities(trials, split) for split in JUDGED if len(labels[split])}
    comparison = compare_arms(
        curve={arm.alpha: arm.name for arm in sweep.arms if arm.alpha is not None},
        oracle=ORACLE if ORACLE in trials else None,
        alternatives={arm.name: arm.train.alpha != 0 for arm in sweep.arms if arm.changes is not None},
        validation=qualities["validation"],
        test=qualities.get("test"),
    )
    summary = _ArmSummary(comparison, trials, labels["validation"], len(sweep.classes))
    result = SweepResult(
        metric="mean_iou" if summary.masks else "accuracy",
        classes=sweep.classes,
        arms=tuple(summary.of(arm) for arm in sweep.arms if arm.alpha is not None),
        alternatives=tuple(summary.of(arm) for arm in sweep.arms if arm.changes is not None),
        oracle=next((summary.of(arm) for arm in sweep.arms if arm.name == ORACLE), None),
        **dict(comparison.verdict),
        seeds=sweep.seeds,
        train=sweep.arms[0].train,
        real_images={split: len(of_split) for split, of_split in labels.items()},
        near_copies=NearCopies(count=len(near_copies), listed=tuple(near_copies[:_LISTED])),
        fingerprint=sweep.fingerprint,
    )
    result.write(sweep.store)
    return result


def _trials(sweep: Sweep) -> Trials:
    if missing := len(sweep.pending()):
        raise RunMismatch(f"{sweep.store}: {missing} trials have no result; run the same command again")
    results = [result for trial in sweep.trials() if (result := sweep.result(trial)) is not None]
    return {arm.name: [result for result in results if result.arm == arm.name] for arm in sweep.arms}


def _labels(sweep: Sweep, split: str) -> NDArray[np.int64]:
    """Return the true labels of a real split, in the order of predictions."""
    folder = sweep.store / "real" / split
    if not finished_shards(folder):
        return np.array([], np.int64)
    return ShardStream(folder.url, shuffle=False, real_only=True).index.label


def _qualities(trials: Trials, split: str) -> ArmQualities:
    return {
        arm: np.array([result.predictions[split].quality for result in results], np.float64)
        for arm, results in trials.items()
    }


@dataclass(frozen=True)
class _ArmSummary:
    comparison: ArmComparison
    trials: Trials
    labels: NDArray[np.int64]
    classes: int

    @property
    def masks(self) -> bool:
        first = next(iter(self.trials.values()))[0]
        return first.predictions["validation"].predicted is None

    def of(self, arm: Arm) -> ArmResult:
        trials = self.trials[arm.name]
        scores = [trial.scores["validation"] for trial in trials]
        return ArmResult(
            name=arm.name,
            alpha=arm.alpha,
            changes=arm.changes or {},
            quality=self.comparison.qualities[arm.name],
            lift=self.comparison.lifts[arm.name],
            quality_per_seed=tuple(float(np.mean(trial.predictions["validation"].quality)) for trial in trials),
            macro_f1=None if self.masks else self._macro_f1(trials),
            scores=_mean_scores(scores),
            recall=tuple(_mean([of_seed.recall[label] for of_seed in scores]) for label in range(self.classes)),
            confusion=tuple(map(tuple, np.sum([of_seed.confusion for of_seed in scores], axis=0).tolist())),
        )

    def _macro_f1(self, trials: Sequence[TrialResult]) -> Interval:
        predicted = np.array([trial.predictions["validation"].predicted for trial in trials], np.int64)
        mean = float(np.mean([trial.scores["validation"].macro_f1 for trial in trials]))
        weights = BootstrapWeights.draw(*predicted.shape)
        return interval(mean, weights.macro_f1(self.labels, predicted, self.classes))


def _mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    means = {name: _mean([getattr(of_seed, name) for of_seed in scores]) for name in NUMBERS}
    return {name: mean for name, mean in means.items() if mean is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
