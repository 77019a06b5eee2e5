"""The numbers of a verdict and their confidence intervals."""

import numpy as np
import pytest

from engine.evaluation.intervals import BootstrapWeights
from engine.training.classifier.metrics import confusion_matrix, macro_f1
from tests.engine.evaluation.arm_qualities import compare, quality, random_quality


def test_a_clear_gain_has_an_interval_above_zero() -> None:
    validation = {0.0: quality(0.8), 0.5: quality(0.9), 1.0: quality(0.7), "oracle": quality(0.95)}
    comparison = compare(validation, {0.0: quality(0.8), 0.5: quality(0.88)})
    assert (comparison.verdict.alpha_star, comparison.verdict.alpha_star_range) == (0.5, (0.5, 0.5))
    lift = comparison.lifts["0.5"]
    assert lift.mean == pytest.approx(0.1)
    assert 0.06 < lift.low < 0.1 < lift.high < 0.14
    assert comparison.verdict.gap_closed == pytest.approx(2 / 3)
    assert comparison.verdict.test_lift is not None
    assert comparison.verdict.test_lift.mean == pytest.approx(0.08)
    assert comparison.verdict.best_baseline is comparison.verdict.lead_over_best_baseline is None


def test_without_a_gain_alpha_star_is_zero() -> None:
    comparison = compare({0.0: quality(0.8), 0.5: quality(0.7), "oracle": quality(0.95)})
    verdict = comparison.verdict
    assert (verdict.alpha_star, comparison.lifts["0.0"].mean, verdict.gap_closed) == (0.0, 0.0, 0.0)


def test_of_equal_arms_the_one_with_least_synthetic_data_wins() -> None:
    assert compare({0.0: quality(0.7), 0.25: quality(0.8), 0.75: quality(0.8)}).verdict.alpha_star == 0.25


def test_an_oracle_that_is_no_better_leaves_no_gap_to_close() -> None:
    assert compare({0.0: quality(0.8), 0.5: quality(0.9), "oracle": quality(0.8)}).verdict.gap_closed is None


def test_the_best_arm_without_synthetic_images_is_compared() -> None:
    comparison = compare({0.0: quality(0.7), 0.5: quality(0.9), "class_weights": quality(0.8), "nothing": quality(0.7)})
    assert (comparison.verdict.best_synthetic, comparison.verdict.best_baseline) == ("0.5", "class_weights")
    assert comparison.verdict.lead_over_best_baseline is not None
    assert comparison.verdict.lead_over_best_baseline.mean == pytest.approx(0.1)


@pytest.mark.parametrize(("accuracy", "best"), [(0.85, "0.5"), (0.94, "oversampling_and_synthetic")])
def test_an_alternative_with_synthetic_images_may_be_the_best(accuracy: float, best: str) -> None:
    alternatives = {"oversampling": quality(0.9), "oversampling_and_synthetic": quality(accuracy)}
    comparison = compare({0.0: quality(0.7), 0.5: quality(0.9), **alternatives})
    assert (comparison.verdict.best_synthetic, comparison.verdict.best_baseline) == (best, "oversampling")


def test_a_lift_is_in_its_interval_as_often_as_stated() -> None:
    random, hits = np.random.default_rng(1), 0
    for _ in range(30):
        images = random.random(300)
        base, mixed = (1.0 * (images[None] < level - 0.1 * random.random((3, 300))) for level in (0.75, 0.85))
        lift = compare({0.0: base, 0.5: mixed}).lifts["0.5"]
        hits += lift.low <= 0.1 <= lift.high
    assert hits >= 25  # 28 or 29 expected; fewer than 25 has a chance below 1%


def test_equal_arms_rarely_show_a_gain() -> None:
    gains = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        validation, test = (
            {alpha: random_quality(random, 0.8) for alpha in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)} for _ in range(2)
        )
        comparison = compare(validation, test)
        assert comparison.verdict.test_lift is not None
        gains += comparison.lifts[str(comparison.verdict.alpha_star)].low > 0 and comparison.verdict.test_lift.low > 0
    assert gains <= 2


def test_macro_f1_of_a_replicate_is_that_of_its_drawn_images() -> None:
    random = np.random.default_rng(2)
    labels, predicted = random.integers(0, 3, 20), random.integers(0, 4, (2, 20))
    weights = BootstrapWeights.draw(2, 20)
    replicates = weights.macro_f1(labels, predicted, 5)
    for row in (0, 1, 17):
        drawn = np.repeat(np.arange(20), np.rint(weights.images[row] * 20).astype(int))
        each = [macro_f1(confusion_matrix(labels[drawn], of_seed[drawn], 5)) for of_seed in predicted]
        assert replicates[row] == pytest.approx(weights.seeds[row] @ np.array(each))
