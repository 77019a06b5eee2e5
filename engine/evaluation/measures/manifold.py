"""Overlap of two sets of images, each taken as the union of balls around its images."""

from typing import Literal

import numpy as np

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column
from engine.evaluation.neighbours import Features, neighbour_radii, squared_distances

_PRECISION_NEIGHBOURS = 3
_DENSITY_NEIGHBOURS = 5


class ManifoldSettings(MeasureSettings):
    """Settings of the measure `manifold`."""

    name: Literal["manifold"]


class ManifoldOverlap(Measure):
    """Precision and recall, density and coverage, which share one pass over all distances."""

    order = 30
    columns = tuple(
        Column(name=name, title=name, decimals=2) for name in ("precision", "recall", "density", "coverage")
    )

    def compute(self, images: MeasuredImages) -> Values:
        """Return the four values of one class."""
        return manifold(*images.pair)


def manifold(real: Features, synthetic: Features) -> dict[str, float]:
    """Measure how two sets of at least 6 images overlap: a ball reaches to an image's k-th nearest one of its own set.

    precision: share of synthetic images in a real ball, k = 3. recall: share of real images in a synthetic ball, k = 3
    (Kynkäänniemi et al., "Improved Precision and Recall Metric", 2019).
    density: number of real balls that hold a synthetic image, of the k expected, k = 5; about 1 for equal sets.
    coverage: share of real balls that hold a synthetic image, k = 5 (Naeem et al., "Reliable Fidelity and Diversity
    Metrics", 2020). Compare sets of equal sizes only.
    """
    # An image on the edge of a ball counts as inside, whatever the rounding error of squared distances.
    centre = real.mean(axis=0)
    rounding = 1e-12 * max(float(np.square(features - centre).sum(axis=1).max()) for features in (real, synthetic))
    real_radii = neighbour_radii(real, _DENSITY_NEIGHBOURS) + rounding
    synthetic_radii = neighbour_radii(synthetic, _PRECISION_NEIGHBOURS)[:, -1] + rounding
    precise, recalled, covered, balls = np.zeros(len(synthetic), np.bool_), 0, 0, 0
    for rows, squared in squared_distances(real, synthetic):
        precise |= (squared <= real_radii[rows, _PRECISION_NEIGHBOURS - 1, None]).any(axis=0)
        recalled += int((squared <= synthetic_radii).any(axis=1).sum())
        inside = squared <= real_radii[rows, _DENSITY_NEIGHBOURS - 1, None]
        covered += int(inside.any(axis=1).sum())
        balls += int(inside.sum())
    return {
        "precision": float(precise.mean()),
        "recall": recalled / len(real),
        "density": balls / (_DENSITY_NEIGHBOURS * len(synthetic)),
        "coverage": covered / len(real),
    }


MEASURES.register(ManifoldSettings, ManifoldOverlap)
