"""A mixture that is refitted to its own samples collapses, and does not if real samples are kept."""

import numpy as np
import pytest

from bench.gaussian_collapse import TRUTH, Generation, Mixture, fit, refit_generations

SEEDS = range(5)


def last_generations(accumulate: bool, generations: int = 60, samples: int = 40) -> list[Generation]:
    """Return the last generation of each seed."""
    runs = (refit_generations(TRUTH, samples, generations, seed, accumulate=accumulate) for seed in SEEDS)
    return [list(run)[-1][0] for run in runs]


def test_only_replaced_samples_lose_modes_and_variance() -> None:
    replaced, accumulated = last_generations(accumulate=False), last_generations(accumulate=True)
    assert [last.modes for last in accumulated] == [3] * len(SEEDS)
    assert all(0.8 < last.variance < 1.25 for last in accumulated)
    assert all(last.divergence < 1.5 for last in accumulated)
    assert all(last.modes < 3 for last in replaced)
    assert np.mean([last.variance for last in replaced]) < 0.75
    assert all(bad.divergence > 100 * good.divergence for bad, good in zip(replaced, accumulated, strict=True))


def test_variance_of_one_gaussian_shrinks_by_the_closed_form() -> None:
    """The expected variance of a maximum likelihood fit is (n - 1) / n of that of the fitted distribution."""
    standard_normal = Mixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    samples, generations = 10, 3
    variances = [
        [
            generation.variance
            for generation, _ in refit_generations(standard_normal, samples, generations, seed, accumulate=False)
        ]
        for seed in range(250)
    ]
    means, errors = np.mean(variances, axis=0), np.std(variances, axis=0) / np.sqrt(len(variances))
    expected = (1 - 1 / samples) ** np.arange(1, generations + 2)
    assert (abs(means - expected) < 4 * errors).all()


def test_seed_determines_the_run_and_generation_0_is_shared() -> None:
    def run(seed: int, accumulate: bool) -> list[Generation]:
        return [generation for generation, _ in refit_generations(TRUTH, 60, 3, seed, accumulate=accumulate)]

    assert run(4, False) == run(4, False)
    assert run(4, False)[0] == run(4, True)[0] != run(5, True)[0]
    assert run(4, False)[2] != run(4, True)[2]
    assert [generation.generation for generation in run(4, True)] == [0, 1, 2, 3]


def test_fit_recovers_the_mixture_from_a_large_sample() -> None:
    truth = Mixture(
        np.array([0.7, 0.2, 0.1]),
        np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 9.0]]),
        np.array([[[1.0, 0.5], [0.5, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [[3.0, -1.0], [-1.0, 1.0]]]),
    )
    points = truth.sample(40_000, np.random.default_rng(0))
    estimate = fit(points, truth)
    assert estimate.weights == pytest.approx(truth.weights, abs=0.01)
    assert estimate.means == pytest.approx(truth.means, abs=0.1)
    assert estimate.covariances == pytest.approx(truth.covariances, abs=0.15)
    assert truth.variance == pytest.approx(points.var(axis=0).sum(), rel=0.02)


def test_densities_are_those_of_normal_distributions() -> None:
    truth = Mixture(np.array([0.25, 0.75]), np.array([[0.0], [2.0]]), np.array([[[1.0]], [[4.0]]]))
    points = np.linspace(-6, 9, 61)
    expected = 0.25 * np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    expected += 0.75 * np.exp(-((points - 2) ** 2) / 8) / np.sqrt(8 * np.pi)
    assert np.exp(truth.log_density(points[:, None])) == pytest.approx(expected)
