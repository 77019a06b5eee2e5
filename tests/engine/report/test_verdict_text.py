"""The sentences of a verdict."""

import numpy as np
import pytest

from engine.report.verdict_text import points, verdict
from tests.engine.evaluation.arm_qualities import quality, random_quality, result


def test_a_clear_gain_is_stated_with_its_interval() -> None:
    validation = {0.0: quality(0.8), 0.5: quality(0.9), "oracle": quality(0.95)}
    text = verdict(result(validation, {0.0: quality(0.8), 0.5: quality(0.88)}))
    assert "helped: alpha 0.5 gives +10.0 points" in text
    assert "67% of the gap to the oracle (95.0%)" in text
    assert "real images alone (80.0% mean IoU)" in verdict(result(validation, masks=True))


def test_no_gain_is_stated_as_plainly() -> None:
    assert "did not help" in verdict(result({0.0: quality(0.8), 0.5: quality(0.7)}))


def test_a_gain_within_noise_is_no_gain() -> None:
    random = np.random.default_rng(0)
    text = verdict(result({0.0: random_quality(random, 0.8, 50), 0.5: random_quality(random, 0.82, 50)}))
    assert "No help was shown" in text or "did not help" in text


def test_a_gain_that_the_test_split_does_not_confirm_is_no_gain() -> None:
    comparison = result({0.0: quality(0.8), 0.5: quality(0.9)}, {0.0: quality(0.8), 0.5: quality(0.8)})
    assert verdict(comparison) == (
        f"No help was shown: alpha 0.5 gives {points(comparison.chosen.lift)} over real images alone (80.0%) on real "
        "validation, but +0.0 points [+0.0, +0.0] on the test split, which had no part in the choice."
    )


@pytest.mark.parametrize(
    ("accuracy", "sentence"),
    [
        (0.8, "It beats the best alternative, class weights (80.0%), by +10.0 points"),
        (0.95, "But the best alternative, class weights (95.0%), is better by +5.0 points [+"),
        (0.9, "It cannot be told apart from the best alternative, class weights (90.0%): +0.0 points"),
    ],
)
def test_the_best_alternative_is_compared(accuracy: float, sentence: str) -> None:
    assert sentence in verdict(result({0.0: quality(0.7), 0.5: quality(0.9), "class_weights": quality(accuracy)}))


@pytest.mark.parametrize(
    ("accuracy", "sentence"),
    [
        (0.85, "It cannot be told apart from the best alternative, oversampling (90.0%)"),
        (
            0.94,
            "The best with synthetic images, oversampling and synthetic (94.0%), beats the best alternative, oversa",
        ),
    ],
)
def test_an_alternative_with_synthetic_images_is_named(accuracy: float, sentence: str) -> None:
    alternatives = {"oversampling": quality(0.9), "oversampling_and_synthetic": quality(accuracy)}
    assert sentence in verdict(result({0.0: quality(0.7), 0.5: quality(0.9), **alternatives}))
