"""Confidence intervals of a sweep's arms, and which arm is best.

All arms share their seeds and images, so the bootstrap is paired: each replicate draws seeds and images with
replacement, the same for every arm (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.sweep_result import Interval, SweepVerdict

_REPLICATES = 4000
_PERCENTILES = (2.5, 97.5)

Floats = NDArray[np.float64]
ArmQualities = Mapping[str, Floats]
"""Quality of each prediction by arm, 0 to 1: (seeds, images). 1 or 0 for a class, mean IoU for a mask."""


@dataclass(frozen=True)
class BootstrapWeights:
    """How often each replicate draws each seed (replicates, seeds) and image (replicates, images); rows sum to 1."""

    seeds: Floats
    images: Floats

    @classmethod
    def draw(cls, seeds: int, images: int) -> "BootstrapWeights":
        """Draw the replicates; equal numbers give equal weights."""
        random = np.random.default_rng(0)
        return cls(
            *(random.multinomial(count, np.full(count, 1 / count), _REPLICATES) / count for count in (seeds, images))
        )

    def means(self, quality: Floats) -> Floats:
        """Return the mean of each replicate, from qualities (seeds, images)."""
        return np.asarray(((self.images @ quality.T) * self.seeds).sum(axis=1))

    def macro_f1(self, labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Floats:
        """Return the macro F1 of each replicate, mean over seeds.

        predicted: (seeds, images). The mean over classes leaves out those without labels and predictions.
        """
        truth = np.eye(classes)[labels]
        count = self.images @ truth
        per_seed = [self._f1(truth, count, np.eye(classes)[of_seed]) for of_seed in predicted]
        return np.asarray((np.stack(per_seed, axis=1) * self.seeds).sum(axis=1))

    def _f1(self, truth: Floats, count: Floats, predicted: Floats) -> Floats:
        both = count + self.images @ predicted
        f1 = np.divide(2 * (self.images @ (truth * predicted)), both, out=np.zeros_like(both), where=both > 0)
        return np.asarray(f1.sum(axis=1) / (both > 0).sum(axis=1))


def interval(mean: float, replicates: Floats) -> Interval:
    """Return a mean with the 95% percentile interval of its replicates."""
    low, high = np.percentile(replicates, _PERCENTILES)
    return Interval(mean=mean, low=float(low), high=float(high))


@dataclass(frozen=True)
class ArmComparison:
    """Quality on validation by arm, its lift above the baseline, and what follows from them."""

    qualities: Mapping[str, Interval]
    lifts: Mapping[str, Interval]
    verdict: SweepVerdict


def compare_arms(
    curve: Mapping[float, str],
    oracle: str | None,
    alternatives: Mapping[str, bool],
    validation: ArmQualities,
    test: ArmQualities | None,
) -> ArmComparison:
    """Choose alpha on validation with its interval, and confirm it on test.

    curve: arm of each alpha; 0 is the baseline. alternatives: whether each alternative arm has synthetic images.
    """
    weights = BootstrapWeights.draw(*next(iter(validation.values())).shape)
    replicates = {name: weights.means(quality) for name, quality in validation.items()}
    means = {name: float(quality.mean()) for name, quality in validation.items()}

    def difference(name: str, other: str) -> Interval:
        return interval(means[name] - means[other], replicates[name] - replicates[other])

    alphas, baseline = sorted(curve), curve[0.0]
    alpha_star = max(alphas, key=lambda a: (means[curve[a]], -a))  # of equal arms the one with least synthetic data
    chosen = curve[alpha_star]
    best_alphas = np.array(alphas)[np.argmax(np.stack([replicates[curve[a]] for a in alphas]), axis=0)]
    low, high = np.percentile(best_alphas, _PERCENTILES, method="nearest")
    oracle_lift = None if oracle is None else difference(oracle, baseline)
    with_synthetic = [chosen, *(name for name, synthetic in alternatives.items() if synthetic)]
    without = [name for name, synthetic in alternatives.items() if not synthetic]
    best_synthetic = max(with_synthetic, key=means.__getitem__)
    best_baseline = max(without, key=means.__getitem__, default=None)
    verdict = SweepVerdict(
        alpha_star=alpha_star,
        alpha_star_range=(float(low), float(high)),
        test_lift=None if test is None else _lift(test, chosen, baseline),
        # The gap must exceed noise: a share of a gap near 0 has no meaning.
        gap_closed=(means[chosen] - means[baseline]) / oracle_lift.mean
        if oracle_lift and oracle_lift.low > 0
        else None,
        best_synthetic=best_synthetic,
        best_baseline=best_baseline,
        lead_over_best_baseline=None if best_baseline is None else difference(best_synthetic, best_baseline),
    )
    qualities = {name: interval(means[name], replicates[name]) for name in validation}
    return ArmComparison(qualities, {name: difference(name, baseline) for name in validation}, verdict)


def _lift(qualities: ArmQualities, arm: str, baseline: str) -> Interval:
    differences = qualities[arm] - qualities[baseline]
    return interval(float(differences.mean()), BootstrapWeights.draw(*differences.shape).means(differences))
