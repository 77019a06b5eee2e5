"""From how good each prediction is to an answer with intervals.

Arms are compared on the same seeds and the same images, so the bootstrap is paired: each replicate draws seeds and
images with replacement, the same for every arm (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REPLICATES = 4000
_LEVEL = (2.5, 97.5)

Floats = NDArray[np.float64]
Quality = Mapping[str, Floats]
"""For each arm, how good each prediction is, 0 to 1: (seeds, images). Of a class, whether it is right; of a mask, its
mean IoU."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class BootstrapWeights:
    """How often each replicate draws each seed and each image, so that a replicate is two small products.

    of_seeds: (replicates, seeds), rows adding up to 1. of_images: (replicates, images), likewise.
    """

    of_seeds: Floats
    of_images: Floats

    @classmethod
    def of(cls, seeds: int, images: int) -> "BootstrapWeights":
        """The same for the same numbers."""
        random = np.random.default_rng(0)
        found = (random.multinomial(count, np.full(count, 1 / count), _REPLICATES) / count for count in (seeds, images))
        return cls(*found)

    def means(self, quality: Floats) -> Floats:
        """Of (seeds, images), the mean of each replicate."""
        return np.asarray(((self.of_images @ quality.T) * self.of_seeds).sum(axis=1))

    def macro_f1(self, labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Floats:
        """Of predictions (seeds, images), the macro F1 of each replicate: mean over seeds, and over the classes that
        stand in its truth or predictions."""
        truth = np.eye(classes)[labels]
        count = self.of_images @ truth
        found = [self._f1(truth, count, np.eye(classes)[one]) for one in predicted]
        return np.asarray((np.stack(found, axis=1) * self.of_seeds).sum(axis=1))

    def _f1(self, truth: Floats, count: Floats, told: Floats) -> Floats:
        both = count + self.of_images @ told
        f1 = np.divide(2 * (self.of_images @ (truth * told)), both, out=np.zeros_like(both), where=both > 0)
        return np.asarray(f1.sum(axis=1) / (both > 0).sum(axis=1))


def interval(mean: float, replicates: Floats) -> Interval:
    """Percentiles of the replicates about a mean."""
    low, high = np.percentile(replicates, _LEVEL)
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found. Qualities and lifts are 0 to 1.

    arms:       quality on validation of every arm.
    lifts:      each arm's less the baseline's. At alpha_star it flatters, for that was chosen on the same images.
    alpha_star: alpha of the best mean on validation; `alpha_star_range` holds it in 95% of replicates.
    star:       name of its arm.
    test_lift:  of `star` on the test split, which chose nothing; None without one.
    gap_closed: lift as a share of what the oracle is above the baseline; None without one that is clearly above it.
    champion:   the best arm with synthetic images, be it `star` or one that does something besides.
    rival:      the best alternative without, and how much better than it `champion` is; None without any.
    """

    arms: Mapping[str, Interval]
    lifts: Mapping[str, Interval]
    baseline: str
    oracle: str | None
    star: str
    alpha_star: float
    alpha_star_range: tuple[float, float]
    test_lift: Interval | None
    gap_closed: float | None
    champion: str
    rival: tuple[str, Interval] | None

    def verdict(self, of: str = "") -> str:
        """In words, also when it did not help. of: what percentages are of, like " mean IoU"."""
        return " ".join(part for part in (self._help(of), self._beside()) if part)

    def _help(self, of: str) -> str:
        alone = f"real images alone ({100 * self.arms[self.baseline].mean:.1f}%{of})"
        if self.alpha_star == 0:
            return f"Synthetic data did not help: no fraction beats {alone}."
        lift, over = self.lifts[self.star], f"over {alone} on real validation"
        if lift.low <= 0:
            return f"No help was shown: the best fraction, alpha {self.alpha_star:g}, gives {_points(lift)} {over}."
        if self.test_lift is not None and self.test_lift.low <= 0:  # the best of several is good by luck as well
            test = f"{_points(self.test_lift)} on the test split, which chose nothing"
            return f"No help was shown: alpha {self.alpha_star:g} gives {_points(lift)} {over}, but {test}."
        return f"Synthetic data helped: alpha {self.alpha_star:g} gives {_points(lift)} {over}{self._gap()}."

    def _gap(self) -> str:
        if self.gap_closed is None or self.oracle is None:
            return ""
        oracle = 100 * self.arms[self.oracle].mean
        return f", which closes {100 * self.gap_closed:.0f}% of the gap to the oracle ({oracle:.1f}%)"

    def _beside(self) -> str:
        """How it compares with the best that can be had without."""
        if self.rival is None:
            return ""
        name, more = self.rival
        it = "It" if self.champion == self.star else f"The best with synthetic images, {self._named(self.champion)},"
        known = f"the best alternative, {self._named(name)}"
        if more.low > 0:
            return f"{it} beats {known}, by {_points(more)}."
        if more.high < 0:
            than = "" if self.champion == self.star else f" than {self._named(self.champion)}"
            return f"But {known}, is better by {_points(Interval(-more.mean, -more.high, -more.low))}{than}."
        return f"{it} is not told apart from {known}: {_points(more)}."

    def _named(self, arm: str) -> str:
        return f"{arm.replace('_', ' ')} ({100 * self.arms[arm].mean:.1f}%)"


def _points(found: Interval) -> str:
    return f"{100 * found.mean:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def answer(
    curve: Mapping[float, str],
    oracle: str | None,
    others: Mapping[str, bool],
    validation: Quality,
    test: Quality | None,
) -> SweepResult:
    """Choose alpha on validation, and say with which certainty; confirm on test.

    curve: the arm of each alpha, 0 among them. others: alternatives, and whether they have synthetic images as well.
    """
    draws = BootstrapWeights.of(*next(iter(validation.values())).shape)
    replicates = {name: draws.means(found) for name, found in validation.items()}
    means = {name: float(found.mean()) for name, found in validation.items()}
    alphas, baseline = sorted(curve), curve[0.0]
    alpha_star = max(alphas, key=lambda a: (means[curve[a]], -a))  # of equals, the one with least synthetic data
    star = curve[alpha_star]
    best = np.array(alphas)[np.argmax(np.stack([replicates[curve[a]] for a in alphas]), axis=0)]
    low, high = np.percentile(best, _LEVEL, method="nearest")

    def less(name: str, other: str) -> Interval:
        return interval(means[name] - means[other], replicates[name] - replicates[other])

    gap = None if oracle is None else less(oracle, baseline)
    champion = max((star, *(name for name, mixed in others.items() if mixed)), key=means.__getitem__)
    rival = max((name for name, mixed in others.items() if not mixed), key=means.__getitem__, default=None)
    return SweepResult(
        arms={name: interval(means[name], replicates[name]) for name in validation},
        lifts={name: less(name, baseline) for name in validation},
        baseline=baseline,
        oracle=oracle,
        star=star,
        alpha_star=alpha_star,
        alpha_star_range=(float(low), float(high)),
        test_lift=None if test is None else _lift(test, star, baseline),
        gap_closed=less(star, baseline).mean / gap.mean if gap is not None and gap.low > 0 else None,
        champion=champion,
        rival=None if rival is None else (rival, less(champion, rival)),
    )


def _lift(quality: Quality, star: str, baseline: str) -> Interval:
    more = quality[star] - quality[baseline]
    return interval(float(more.mean()), BootstrapWeights.of(*more.shape).means(more))
