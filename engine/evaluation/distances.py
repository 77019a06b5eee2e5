"""Distances between two sets of images, from features of them.

Features are float arrays (images, dimensions). All of it is numpy, and of the distances between the images of two sets
only a piece stands in memory at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]
"""(images, dimensions)."""

_BLOCK = 1000
_PIECE = 1 << 22
"""Distances that stand in memory at a time."""


class TooFew(ValueError):
    """A set has fewer images than a measure is defined for."""


@dataclass(frozen=True)
class Kid:
    """Kernel inception distance: squared, so 0 for equal distributions, and as unbiased below it as above."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class Manifold:
    """How two sets lie in each other, see `manifold`. 0 to 1, but for density, which is about 1 for equal sets and may
    be more."""

    precision: float
    recall: float
    density: float
    coverage: float


def fid(real: Features, synthetic: Features) -> float:
    """Fréchet distance of two Gaussians with the means and covariances of the sets, squared: 0 or more (Heusel et al.,
    "GANs Trained by a Two Time-Scale Update Rule", 2017). It is biased upwards by small sets, so compare equal sizes.

    Raises TooFew for a set that has no more images than dimensions: its covariance is singular, and the bias large.
    """
    for features in (real, synthetic):
        if len(features) <= features.shape[1]:
            raise TooFew(f"FID wants more than {features.shape[1]} images, its features' dimensions")
    return frechet_distance(*_moments(real), *_moments(synthetic))


def frechet_distance(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    other_mean: NDArray[np.float64],
    other_covariance: NDArray[np.float64],
) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson and Landau, 1982).

    The trace of the root of a product of covariances AA' and BB' is the sum of the singular values of A'B, which is
    never complex and needs no iteration, also where they are singular.
    """
    cross = np.linalg.svd(_root(covariance).T @ _root(other_covariance), compute_uv=False).sum()
    apart = np.square(mean - other_mean).sum()
    return max(0.0, float(apart + np.trace(covariance) + np.trace(other_covariance) - 2 * cross))


def kid(real: Features, synthetic: Features, seed: int = 0) -> Kid:
    """Squared maximum mean discrepancy with the kernel (x.y / dimensions + 1)^3, unbiased (Binkowski et al.,
    "Demystifying MMD GANs", 2018).

    The mean over disjoint blocks of at most 1,000 drawn images of each set. The standard error is the jackknife's
    (Arvesen, 1969), for it is defined for one block too. Raises TooFew for less than 3 images.
    """
    smaller = min(len(real), len(synthetic))
    if smaller < 3:
        raise TooFew("KID wants at least 3 images")
    blocks = -(-smaller // _BLOCK)
    random = np.random.default_rng(seed)
    drawn = [np.array_split(random.permutation(one)[: blocks * _BLOCK], blocks) for one in (real, synthetic)]
    found = np.array([_discrepancy(*pair) for pair in zip(*drawn, strict=True)])
    return Kid(float(found[:, 0].mean()), float(np.sqrt(found[:, 1].sum()) / blocks))


def manifold(real: Features, synthetic: Features, near: int = 3, dense: int = 5) -> Manifold:
    """How two sets lie in each other, a set being balls that reach from each image to its k-th nearest one of the set.

    precision: share of synthetic images in a ball of a real one; recall: share of real ones in a ball of a synthetic
    one, with k = `near` (Kynkäänniemi et al., "Improved Precision and Recall Metric", 2019). density: in how many balls
    of real images a synthetic one is, of the k expected; coverage: share of the balls of real images that hold a
    synthetic one, with k = `dense` (Naeem et al., "Reliable Fidelity and Diversity Metrics", 2020). Compare sets of
    equal sizes. Raises TooFew for a set of at most k images.
    """
    most = max(near, dense)
    if min(len(real), len(synthetic)) <= most:
        raise TooFew(f"precision, recall, density and coverage want more than {most} images")
    room = _rounding(real, synthetic)
    of_real, of_synthetic = neighbour_radii(real, most) + room, neighbour_radii(synthetic, near) + room
    inside, recalled, covered, balls = np.zeros(len(synthetic), np.bool_), 0, 0, 0
    for rows, squared in squared_distances(real, synthetic):
        inside |= (squared <= of_real[rows, near - 1, None]).any(axis=0)
        recalled += int((squared <= of_synthetic[:, near - 1]).any(axis=1).sum())
        held = squared <= of_real[rows, dense - 1, None]
        covered += int(held.any(axis=1).sum())
        balls += int(held.sum())
    density = balls / (dense * len(synthetic))
    return Manifold(float(inside.mean()), recalled / len(real), density, covered / len(real))


def neighbour_radii(features: Features, most: int) -> NDArray[np.float64]:
    """Squared distances of each image to its nearest, second nearest, ... other image of the set: (images, most)."""
    found = np.empty((len(features), most))
    for rows, squared in squared_distances(features, features):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = (
            np.inf
        )  # an image is no neighbour of itself
        found[rows] = np.sort(np.partition(squared, most - 1, axis=1)[:, :most], axis=1)
    return found


def squared_distances(ours: Features, theirs: Features) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Squared Euclidean distances of all pairs, some rows of `ours` at a time: those rows, and (rows, theirs)."""
    centre = theirs.mean(axis=0, dtype=np.float64)  # what all share would only cost digits
    others = theirs - centre
    lengths = np.square(others).sum(axis=1)
    step = max(1, _PIECE // max(1, len(theirs)))
    for start in range(0, len(ours), step):
        rows = slice(start, min(start + step, len(ours)))
        some = ours[rows] - centre
        squared = some @ (-2 * others.T)
        squared += np.square(some).sum(axis=1)[:, None]
        squared += lengths
        yield rows, np.maximum(squared, 0, out=squared)


def _rounding(*sets: Features) -> float:
    """What squared distances may be off by, so that an image on the rim of a ball counts as within."""
    return 1e-12 * max(float(np.square(one - sets[0].mean(axis=0)).sum(axis=1).max()) for one in sets)


def _moments(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    exact = features.astype(np.float64)
    return exact.mean(axis=0), np.atleast_2d(np.cov(exact, rowvar=False))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A with AA' = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(values.clip(min=0)), np.float64)


def _discrepancy(real: Features, synthetic: Features) -> tuple[float, float]:
    """The unbiased squared discrepancy of two blocks, and its jackknife variance."""
    n, m = len(real), len(synthetic)
    within, within_other = _others(real), _others(synthetic)
    cross = _kernel(real, synthetic)
    of_real, of_synthetic = cross.sum(axis=1), cross.sum(axis=0)
    a, b, c = within.sum(), within_other.sum(), cross.sum()
    found = a / (n * (n - 1)) + b / (m * (m - 1)) - 2 * c / (n * m)
    # What it were without one image of either set: the sums less that image's part in them.
    less_real = (a - 2 * within) / ((n - 1) * (n - 2)) + b / (m * (m - 1)) - 2 * (c - of_real) / ((n - 1) * m)
    less = (b - 2 * within_other) / ((m - 1) * (m - 2)) + a / (n * (n - 1)) - 2 * (c - of_synthetic) / (n * (m - 1))
    return float(found), float((n - 1) * less_real.var() + (m - 1) * less.var())


def _others(features: Features) -> NDArray[np.float64]:
    """The sum of the kernel of each image with all others of its set."""
    found = _kernel(features, features)
    return np.asarray(found.sum(axis=1) - np.diagonal(found), np.float64)


def _kernel(ours: Features, theirs: Features) -> NDArray[np.float64]:
    exact = ours.astype(np.float64) @ theirs.astype(np.float64).T
    return np.asarray((exact / ours.shape[1] + 1) ** 3, np.float64)
