"""Overlap of two sets of images, each taken as the union of balls around its images."""

from dataclasses import dataclass

import numpy as np

from engine.evaluation.distances import Features, neighbour_radii, squared_distances

_PRECISION_NEIGHBOURS = 3
_DENSITY_NEIGHBOURS = 5
FEWEST = _DENSITY_NEIGHBOURS + 1
"""Images that both sets need: a ball reaches to the fifth neighbour."""


@dataclass(frozen=True)
class Manifold:
    """Overlap of a real and a synthetic set. Values are 0 to 1; density is about 1 for equal sets."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Features, synthetic: Features) -> Manifold:
    """Measure how two sets of at least FEWEST images overlap. Compare sets of equal sizes only.

    A ball reaches from an image to its k-th nearest neighbour in its own set.
    precision: share of synthetic images in a real ball, k = 3. recall: share of real images in a synthetic ball, k = 3
    (Kynkäänniemi et al., "Improved Precision and Recall Metric", 2019).
    density: number of real balls that hold a synthetic image, of the k expected, k = 5. coverage: share of real balls
    that hold a synthetic image, k = 5 (Naeem et al., "Reliable Fidelity and Diversity Metrics", 2020).
    """
    rounding = _rounding(real, synthetic)
    real_radii = neighbour_radii(real, _DENSITY_NEIGHBOURS) + rounding
    synthetic_radii = neighbour_radii(synthetic, _PRECISION_NEIGHBOURS)[:, -1] + rounding
    precise, recalled, covered, balls = np.zeros(len(synthetic), np.bool_), 0, 0, 0
    for rows, squared in squared_distances(real, synthetic):
        precise |= (squared <= real_radii[rows, _PRECISION_NEIGHBOURS - 1, None]).any(axis=0)
        recalled += int((squared <= synthetic_radii).any(axis=1).sum())
        inside = squared <= real_radii[rows, _DENSITY_NEIGHBOURS - 1, None]
        covered += int(inside.any(axis=1).sum())
        balls += int(inside.sum())
    density = balls / (_DENSITY_NEIGHBOURS * len(synthetic))
    return Manifold(float(precise.mean()), recalled / len(real), density, covered / len(real))


def _rounding(*sets: Features) -> float:
    """Return the rounding error of squared distances, so that an image on the edge of a ball counts as inside."""
    centre = sets[0].mean(axis=0)
    return 1e-12 * max(float(np.square(features - centre).sum(axis=1).max()) for features in sets)
