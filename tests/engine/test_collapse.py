"""A model refitted on its own samples: that it loses what the papers say, and keeps it with real samples."""

import numpy as np
import pytest

from bench.gaussian_collapse import TRUTH, Generation, Mixture, fit, recursion

SEEDS = range(5)


def ends(accumulate: bool, generations: int = 60, samples: int = 40) -> list[Generation]:
    """The last generation of each seed."""
    found = (recursion(TRUTH, samples, generations, seed, accumulate=accumulate) for seed in SEEDS)
    return [list(one)[-1][0] for one in found]


def test_replaced_samples_lose_modes_and_variance_and_kept_ones_do_not() -> None:
    replaced, kept = ends(accumulate=False), ends(accumulate=True)
    assert [one.modes for one in kept] == [3] * len(SEEDS)
    assert all(0.8 < one.variance < 1.25 for one in kept)
    assert all(one.divergence < 1.5 for one in kept)
    assert all(one.modes < 3 for one in replaced)
    assert np.mean([one.variance for one in replaced]) < 0.75
    assert all(old.divergence > 100 * new.divergence for old, new in zip(replaced, kept, strict=True))


def test_the_variance_of_one_gaussian_shrinks_by_the_closed_form() -> None:
    """Maximum likelihood expects (n - 1) / n of the variance that it is fitted to, generation after generation."""
    one = Mixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    samples, generations = 10, 3
    runs = [
        [now.variance for now, _ in recursion(one, samples, generations, seed, accumulate=False)] for seed in range(250)
    ]
    means, errors = np.mean(runs, axis=0), np.std(runs, axis=0) / np.sqrt(len(runs))
    expected = (1 - 1 / samples) ** np.arange(1, generations + 2)
    assert (abs(means - expected) < 4 * errors).all()


def test_a_recursion_follows_from_its_seed_and_arms_begin_alike() -> None:
    def judged(seed: int, accumulate: bool) -> list[Generation]:
        return [one for one, _ in recursion(TRUTH, 60, 3, seed, accumulate=accumulate)]

    assert judged(4, False) == judged(4, False)
    assert judged(4, False)[0] == judged(4, True)[0] != judged(5, True)[0]
    assert judged(4, False)[2] != judged(4, True)[2]
    assert [one.generation for one in judged(4, True)] == [0, 1, 2, 3]


def test_a_large_sample_gives_the_mixture_back() -> None:
    truth = Mixture(
        np.array([0.7, 0.2, 0.1]),
        np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 9.0]]),
        np.array([[[1.0, 0.5], [0.5, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [[3.0, -1.0], [-1.0, 1.0]]]),
    )
    points = truth.sample(40_000, np.random.default_rng(0))
    found = fit(points, truth)
    assert found.weights == pytest.approx(truth.weights, abs=0.01)
    assert found.means == pytest.approx(truth.means, abs=0.1)
    assert found.covariances == pytest.approx(truth.covariances, abs=0.15)
    assert truth.variance == pytest.approx(points.var(axis=0).sum(), rel=0.02)


def test_densities_are_those_of_a_normal_distribution() -> None:
    truth = Mixture(np.array([0.25, 0.75]), np.array([[0.0], [2.0]]), np.array([[[1.0]], [[4.0]]]))
    points = np.linspace(-6, 9, 61)
    expected = 0.25 * np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    expected += 0.75 * np.exp(-((points - 2) ** 2) / 8) / np.sqrt(8 * np.pi)
    assert np.exp(truth.log_density(points[:, None])) == pytest.approx(expected)
