"""From how good predictions are to an answer."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.evaluation.intervals import BootstrapWeights, SweepResult, _points, answer
from engine.training.classifier.metrics import confusion_matrix, macro_f1

Floats = NDArray[np.float64]


def arm(accuracy: float, seeds: int = 3, images: int = 400) -> Floats:
    """Right on the same first images for every arm, as hard images are hard for all."""
    return np.tile(np.arange(images) < accuracy * images, (seeds, 1)).astype(float)


def asked(found: dict[float | str, Floats], test: dict[float, Floats] | None = None) -> SweepResult:
    """Numbers are alphas, `oracle` is the oracle, and other names are alternatives, some with synthetic images."""
    validation = {str(name): quality for name, quality in found.items()}
    others = {name: "synthetic" in name for name in found if isinstance(name, str) and name != "oracle"}
    judged = None if test is None else {str(name): quality for name, quality in test.items()}
    curve = {name: str(name) for name in found if isinstance(name, float)}
    return answer(curve, "oracle" if "oracle" in found else None, others, validation, judged)


def test_a_clear_gain_is_said_with_its_interval() -> None:
    found = asked({0.0: arm(0.8), 0.5: arm(0.9), 1.0: arm(0.7), "oracle": arm(0.95)}, {0.0: arm(0.8), 0.5: arm(0.88)})
    assert (found.alpha_star, found.alpha_star_range) == (0.5, (0.5, 0.5))
    lift = found.lifts[found.star]
    assert lift.mean == pytest.approx(0.1)
    assert 0.06 < lift.low < 0.1 < lift.high < 0.14
    assert found.gap_closed == pytest.approx(2 / 3)
    assert found.test_lift is not None
    assert found.test_lift.mean == pytest.approx(0.08)
    assert "helped: alpha 0.5 gives +10.0 points" in found.verdict()
    assert "real images alone (80.0% mean IoU)" in found.verdict(" mean IoU")
    assert "67% of the gap to the oracle (95.0%)" in found.verdict()


def test_no_gain_is_said_as_plainly() -> None:
    found = asked({0.0: arm(0.8), 0.5: arm(0.7), "oracle": arm(0.95)})
    assert (found.alpha_star, found.lifts[found.star].mean, found.gap_closed) == (0.0, 0.0, 0.0)
    assert "did not help" in found.verdict()


def test_a_gain_within_noise_is_no_gain() -> None:
    random = np.random.default_rng(0)
    found = asked({0.0: 1.0 * (random.random((3, 50)) < 0.80), 0.5: 1.0 * (random.random((3, 50)) < 0.82)})
    assert found.lifts[found.star].low < 0 or found.alpha_star == 0
    assert "No help was shown" in found.verdict() or "did not help" in found.verdict()


def test_a_gain_that_the_test_split_does_not_confirm_is_no_gain() -> None:
    found = asked({0.0: arm(0.8), 0.5: arm(0.9)}, {0.0: arm(0.8), 0.5: arm(0.8)})
    assert found.verdict() == (
        f"No help was shown: alpha 0.5 gives {_points(found.lifts['0.5'])} over real images alone (80.0%) on real "
        "validation, but +0.0 points [+0.0, +0.0] on the test split, which chose nothing."
    )
    luck = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        equal = {alpha: 1.0 * (random.random((3, 400)) < 0.8) for alpha in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)}
        test = {alpha: 1.0 * (random.random((3, 400)) < 0.8) for alpha in equal}
        luck += "helped" in asked(equal, test).verdict()
    assert luck <= 2, "of arms that are equally good hardly any is called a help"


def test_of_equal_arms_the_one_with_least_synthetic_data_wins() -> None:
    assert asked({0.0: arm(0.7), 0.25: arm(0.8), 0.75: arm(0.8)}).alpha_star == 0.25


def test_an_oracle_that_is_no_better_leaves_no_gap_to_close() -> None:
    assert asked({0.0: arm(0.8), 0.5: arm(0.9), "oracle": arm(0.8)}).gap_closed is None


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0.8, "It beats the best alternative, class weights (80.0%), by +10.0 points"),
        (0.95, "But the best alternative, class weights (95.0%), is better by +5.0 points [+"),
        (0.9, "It is not told apart from the best alternative, class weights (90.0%): +0.0 points"),
    ],
)
def test_the_best_alternative_stands_beside_it(level: float, said: str) -> None:
    found = asked({0.0: arm(0.7), 0.5: arm(0.9), "class_weights": arm(level), "nothing": arm(0.7)})
    assert found.rival is not None
    assert found.rival[0] == "class_weights"
    assert said in found.verdict()


@pytest.mark.parametrize(
    ("joined", "said"),
    [
        (0.85, "It is not told apart from the best alternative, oversampling (90.0%)"),
        (
            0.94,
            "The best with synthetic images, oversampling and synthetic (94.0%), beats the best alternative, oversa",
        ),
    ],
)
def test_what_is_done_besides_counts_as_synthetic_where_it_has_such_images(joined: float, said: str) -> None:
    found = asked({0.0: arm(0.7), 0.5: arm(0.9), "oversampling": arm(0.9), "oversampling_and_synthetic": arm(joined)})
    assert found.champion == ("0.5" if joined < 0.9 else "oversampling_and_synthetic")
    assert found.rival is not None
    assert found.rival[0] == "oversampling"
    assert said in found.verdict()


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random, hits = np.random.default_rng(1), 0
    for _ in range(30):
        images = random.random(300)
        base, mixed = (1.0 * (images[None] < level - 0.1 * random.random((3, 300))) for level in (0.75, 0.85))
        lift = asked({0.0: base, 0.5: mixed}).lifts["0.5"]
        hits += lift.low <= 0.1 <= lift.high
    assert hits >= 25  # 28 or 29 expected; fewer than 25 has a chance below 1%


def test_macro_f1_of_a_replicate_is_that_of_the_images_that_it_draws() -> None:
    random = np.random.default_rng(2)
    labels, predicted = random.integers(0, 3, 20), random.integers(0, 4, (2, 20))
    draws = BootstrapWeights.of(2, 20)
    found = draws.macro_f1(labels, predicted, 5)
    for row in (0, 1, 17):
        drawn = np.repeat(np.arange(20), np.rint(draws.of_images[row] * 20).astype(int))
        each = [macro_f1(confusion_matrix(labels[drawn], one[drawn], 5)) for one in predicted]
        assert found[row] == pytest.approx(draws.of_seeds[row] @ np.array(each))
