"""Measures of two feature sets, compared with closed forms and brute force, and their invariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation import neighbours
from engine.evaluation.measure_plugin import TooFew
from engine.evaluation.measures.fd import fd, frechet_distance
from engine.evaluation.measures.kd import kd
from engine.evaluation.measures.manifold import manifold
from engine.evaluation.neighbours import neighbour_radii

Array = np.ndarray

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def pairwise(ours: Array, theirs: Array) -> Array:
    return np.square(ours[:, None] - theirs[None]).sum(axis=2)


def covariance(seed: int, dimensions: int, rank: int) -> Array:
    root = drawn(seed, dimensions, rank)
    return root @ root.T


@given(SEEDS, st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_frechet_distance_of_singular_covariances(seed: int, d: int, a: int, b: int) -> None:
    first, second = covariance(seed, d, a), covariance(seed + 1, d, b)
    mean, other_mean = drawn(seed, 2, d)
    # The trace of the square root of the product is the sum of the roots of its eigenvalues.
    trace_of_root = np.sqrt(np.linalg.eigvals(first @ second).real.clip(min=0)).sum()
    expected = np.square(mean - other_mean).sum() + np.trace(first + second) - 2 * trace_of_root
    assert frechet_distance(mean, first, other_mean, second) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert frechet_distance(mean, first, mean, first) == pytest.approx(0, abs=1e-6 * np.trace(first))


@given(SEEDS, st.floats(-3, 3), st.floats(0.1, 3))
def test_fd_of_a_shift_and_a_scaling_is_the_closed_form(seed: int, shift: float, scale: float) -> None:
    features = drawn(seed, 40, 5)
    moved = features.mean(axis=0) + scale * (features - features.mean(axis=0)) + shift
    variance = np.trace(np.cov(features, rowvar=False))
    assert fd(features, moved) == pytest.approx(5 * shift**2 + (1 - scale) ** 2 * variance, rel=1e-9, abs=1e-9)


def test_fd_converges_to_that_of_the_gaussians() -> None:
    real, synthetic = drawn(0, 20_000, 3), 1 + drawn(1, 20_000, 3) * [1, 2, 3]
    assert fd(real, synthetic) == pytest.approx(3 + 0 + 1 + 4, rel=0.03)


@given(SEEDS, st.floats(0.1, 10))
def test_fd_is_symmetric_and_grows_with_the_squared_scale(seed: int, scale: float) -> None:
    real, synthetic = drawn(seed, 30, 4), 1 + drawn(seed + 1, 25, 4) ** 2
    distance = fd(real, synthetic)
    assert fd(synthetic, real) == pytest.approx(distance)
    assert fd(real[::-1], np.roll(synthetic, 7, axis=0)) == pytest.approx(distance)
    assert fd(scale * real, scale * synthetic) == pytest.approx(scale**2 * distance)


def test_fd_needs_more_images_than_dimensions() -> None:
    with pytest.raises(TooFew, match="more than 8 images"):
        fd(drawn(0, 8, 8), drawn(1, 100, 8))
    assert fd(drawn(0, 9, 8), drawn(1, 100, 8)) > 0


def brute_kd(real: Array, synthetic: Array) -> float:
    def kernel(x: Array, y: Array) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n, m = len(real), len(synthetic)
    within = sum(kernel(real[i], real[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(kernel(synthetic[i], synthetic[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within + other - 2 * sum(kernel(x, y) for x in real for y in synthetic) / (n * m)


def brute_error(real: Array, synthetic: Array) -> float:
    less = [brute_kd(np.delete(real, i, 0), synthetic) for i in range(len(real))]
    others = [brute_kd(real, np.delete(synthetic, i, 0)) for i in range(len(synthetic))]
    return float(np.sqrt(sum((len(some) - 1) * np.var(some) for some in (less, others))))


@given(SEEDS, st.integers(3, 7), st.integers(3, 7))
def test_kd_and_its_error_match_brute_force(seed: int, n: int, m: int) -> None:
    real, synthetic = drawn(seed, n, 3), 0.5 + drawn(seed + 1, m, 3)
    mean, standard_error = kd(real, synthetic)
    assert mean == pytest.approx(brute_kd(real, synthetic), abs=1e-9)
    assert standard_error == pytest.approx(brute_error(real, synthetic), abs=1e-9)


def test_kd_is_unbiased_with_a_true_error() -> None:
    """In one dimension the kernel is (xy + 1)^3, so the discrepancy is that of the first three moments."""
    shift = 0.5
    truth = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    distances = [kd(drawn(seed, 60, 1), shift + drawn(1000 + seed, 90, 1)) for seed in range(300)]
    means, errors = np.transpose(distances)
    assert means.mean() == pytest.approx(truth, abs=4 * means.std() / np.sqrt(len(means)))
    assert errors.mean() == pytest.approx(means.std(), rel=0.25)


def test_kd_of_large_sets_is_the_mean_over_blocks() -> None:
    real, synthetic = drawn(0, 3000, 4), 0.3 + drawn(1, 2500, 4)
    whole, error_of_whole = kd(real[:2500], synthetic[:900])
    mean, standard_error = kd(real, synthetic)
    assert mean == pytest.approx(whole, abs=3 * error_of_whole)
    assert 0 < standard_error < error_of_whole
    assert kd(real, synthetic) == (mean, standard_error) != kd(real, synthetic, seed=1)


def brute_manifold(real: Array, synthetic: Array, near: int, dense: int) -> tuple[float, ...]:
    def radii(some: Array, k: int) -> Array:
        return np.array([np.sort(np.delete(pairwise(some[i : i + 1], some)[0], i))[k - 1] for i in range(len(some))])

    apart = pairwise(real, synthetic)
    precision = (apart <= radii(real, near)[:, None]).any(axis=0).mean()
    recall = (apart <= radii(synthetic, near)[None]).any(axis=1).mean()
    held = apart <= radii(real, dense)[:, None]
    return float(precision), float(recall), float(held.sum() / dense / len(synthetic)), float(held.any(axis=1).mean())


@given(SEEDS, st.integers(6, 25), st.integers(6, 25), st.sampled_from([1, 7, 10**6]))
def test_manifold_is_its_definition_for_any_block_size(seed: int, n: int, m: int, block: int) -> None:
    real, synthetic = drawn(seed, n, 3), 0.7 + drawn(seed + 1, m, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK_DISTANCES", block)
        measured = manifold(real, synthetic)
    assert tuple(measured.values()) == pytest.approx(brute_manifold(real, synthetic, 3, 5))


@given(SEEDS, st.floats(0.01, 100), st.floats(-50, 50))
def test_manifold_ignores_order_scale_and_offset(seed: int, scale: float, shift: float) -> None:
    real, synthetic = drawn(seed, 20, 4), 0.5 + drawn(seed + 1, 30, 4)
    random = np.random.default_rng(seed)
    moved = manifold(*(random.permutation(shift + scale * features) for features in (real, synthetic)))
    assert moved == manifold(real, synthetic)


@given(SEEDS, st.integers(6, 40))
def test_manifold_of_equal_and_of_distant_sets(seed: int, n: int) -> None:
    features = drawn(seed, n, 4)
    density = pytest.approx(6 / 5)  # each ball holds its own image besides its five neighbours
    assert manifold(features, features.copy()) == {"precision": 1, "recall": 1, "density": density, "coverage": 1}
    assert set(manifold(features, features + 1000).values()) == {0}


def test_one_repeated_image_is_precise_but_covers_little() -> None:
    real = drawn(0, 200, 4)
    measured = manifold(real, np.repeat(real[:1], 200, axis=0))
    assert measured["precision"] == 1
    assert measured["recall"] < 0.02
    assert measured["coverage"] < 0.1


def test_an_image_is_not_its_own_neighbour() -> None:
    radii = neighbour_radii(np.array([[0.0], [0.0], [3.0]]), 2)
    assert radii.tolist() == [[0, 9], [0, 9], [9, 9]]


def test_single_precision_features_give_the_same() -> None:
    real, synthetic = drawn(0, 50, 4).astype(np.float32), 0.5 + drawn(1, 50, 4).astype(np.float32)
    wide = real.astype(np.float64), synthetic.astype(np.float64)
    assert fd(real, synthetic) == fd(*wide)
    assert kd(real, synthetic) == kd(*wide) != (0, 0)
    assert manifold(real, synthetic) == manifold(*wide)
