"""From right and wrong predictions to an answer with intervals.

Arms are compared on the same seeds and the same images, so the bootstrap is paired: each replicate draws seeds and
images with replacement, the same for every arm (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_REPLICATES = 4000
_LEVEL = (2.5, 97.5)

Correct = Mapping[float | None, NDArray[np.bool_]]
"""For each alpha, and None for the oracle: whether each prediction was right, (seeds, images)."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """What a sweep found. Accuracies and lifts are fractions of real images, 0 to 1.

    arms:       accuracy on validation for each alpha, in order.
    alpha_star: alpha of the best mean accuracy on validation; `alpha_star_range` holds it in 95% of replicates.
    lifts:      accuracy at each alpha less the baseline's, on validation. At alpha_star it flatters, for that was
                chosen there.
    test_lift:  the same on the test split, which chose nothing; None without one.
    gap_closed: lift as a share of what the oracle is above the baseline; None where it is not clearly above it.
    """

    baseline: Interval
    oracle: Interval
    arms: dict[float, Interval]
    alpha_star: float
    alpha_star_range: tuple[float, float]
    lifts: dict[float, Interval]
    test_lift: Interval | None
    gap_closed: float | None

    @property
    def lift(self) -> Interval:
        """Of the best alpha."""
        return self.lifts[self.alpha_star]

    @property
    def verdict(self) -> str:
        """One sentence, also when it did not help."""
        lift = f"{100 * self.lift.mean:+.1f} points [{100 * self.lift.low:+.1f}, {100 * self.lift.high:+.1f}]"
        over = f"over real images alone ({100 * self.baseline.mean:.1f}%) on real validation"
        if self.alpha_star == 0:
            return (
                f"Synthetic data did not help: no fraction beats real images alone ({100 * self.baseline.mean:.1f}%)."
            )
        if self.lift.low <= 0:
            return f"No help was shown: the best fraction, alpha {self.alpha_star:g}, gives {lift} {over}."
        return f"Synthetic data helped: alpha {self.alpha_star:g} gives {lift} {over}{self._gap()}."

    def _gap(self) -> str:
        if self.gap_closed is None:
            return ""
        return f", which closes {100 * self.gap_closed:.0f}% of the gap to the oracle ({100 * self.oracle.mean:.1f}%)"

    def as_json(self) -> dict[str, Any]:
        """For sweep.json."""
        return {
            "verdict": self.verdict,
            "baseline": self.baseline.mean,
            "oracle": self.oracle.mean,
            "alpha_star": self.alpha_star,
            "alpha_star_range": self.alpha_star_range,
            "lift": asdict(self.lift),
            "test_lift": None if self.test_lift is None else asdict(self.test_lift),
            "gap_closed": self.gap_closed,
            "baseline_interval": asdict(self.baseline),
            "oracle_interval": asdict(self.oracle),
            "arms": [
                {"alpha": alpha, **asdict(found), "lift": asdict(self.lifts[alpha])}
                for alpha, found in self.arms.items()
            ],
        }


def answer(validation: Correct, test: Correct | None) -> Answer:
    """Choose alpha on validation, and say with which certainty; confirm on test."""
    replicates = _replicates(validation)
    alphas = sorted(alpha for alpha in validation if alpha is not None)
    means = {alpha: float(found.mean()) for alpha, found in validation.items()}
    star = max(alphas, key=lambda alpha: (means[alpha], -alpha))  # of equals, the one with least synthetic data
    best = np.array(alphas)[np.argmax(np.stack([replicates[alpha] for alpha in alphas]), axis=0)]
    low, high = np.percentile(best, _LEVEL, method="nearest")
    lifts = {a: _interval(means[a] - means[0.0], replicates[a] - replicates[0.0]) for a in (*alphas, None)}
    gap = lifts.pop(None)
    return Answer(
        baseline=_interval(means[0.0], replicates[0.0]),
        oracle=_interval(means[None], replicates[None]),
        arms={alpha: _interval(means[alpha], replicates[alpha]) for alpha in alphas},
        alpha_star=star,
        alpha_star_range=(float(low), float(high)),
        lifts={alpha: lifts[alpha] for alpha in alphas},
        test_lift=None if test is None else _lift(test, star),
        gap_closed=lifts[star].mean / gap.mean if gap.low > 0 else None,
    )


def _lift(correct: Correct, alpha: float) -> Interval:
    replicates = _replicates(correct)
    mean = float(correct[alpha].mean() - correct[0.0].mean())
    return _interval(mean, replicates[alpha] - replicates[0.0])


def _replicates(correct: Correct) -> dict[float | None, NDArray[np.float64]]:
    """Mean accuracy of each arm in each replicate; seeds and images are drawn once, for all arms."""
    seeds, images = next(iter(correct.values())).shape
    random = np.random.default_rng(0)
    # How often each seed and each image is drawn, so that a replicate is two small products.
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), _REPLICATES) / seeds
    of_images = random.multinomial(images, np.full(images, 1 / images), _REPLICATES) / images
    return {
        alpha: np.einsum("rs,si,ri->r", of_seeds, found.astype(float), of_images, optimize=True)
        for alpha, found in correct.items()
    }


def _interval(mean: float, replicates: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(replicates, _LEVEL)
    return Interval(mean, float(low), float(high))
