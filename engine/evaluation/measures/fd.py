"""Fréchet distance of two sets of features, called FID in the literature where the encoder is Inception."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, TooFew, Values
from engine.evaluation.measure_result import Column, EncoderInfo
from engine.evaluation.neighbours import Features

Floats = NDArray[np.float64]


class FrechetSettings(MeasureSettings):
    """Settings of the measure `fd`."""

    name: Literal["fd"]


class FrechetDistance(Measure):
    """Fréchet distance of Gaussians with the means and covariances of the sets; 0 or more."""

    order, pooled = 10, True

    def __init__(self, settings: FrechetSettings, encoder: EncoderInfo) -> None:
        self.columns = (Column(name="fd", title=f"FD ({encoder.short_name})", decimals=1),)

    def compute(self, images: MeasuredImages) -> Values:
        """Return the distance, with equally many images of each class, the first ones."""
        if not images.pairs:
            return {}
        real, synthetic = map(_balanced, zip(*images.pairs, strict=True))
        return {"fd": fd(real, synthetic)}


def fd(real: Features, synthetic: Features) -> float:
    """Return the squared Fréchet distance (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017).

    Small sets bias it upwards. Raises TooFew for a set without more images than dimensions: its covariance is singular.
    """
    for features in (real, synthetic):
        if len(features) <= features.shape[1]:
            raise TooFew(f"FD needs more than {features.shape[1]} images, the dimensions of the features")
    return frechet_distance(*_moments(real), *_moments(synthetic))


def frechet_distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians (Dowson and Landau, 1982)."""
    # The trace of the root of a product of covariances AA' and BB' is the sum of the singular values of A'B. These are
    # never complex and need no iteration, also if a covariance is singular.
    cross = np.linalg.svd(_root(covariance).T @ _root(other_covariance), compute_uv=False).sum()
    between_means = np.square(mean - other_mean).sum()
    return max(0.0, float(between_means + np.trace(covariance) + np.trace(other_covariance) - 2 * cross))


def _balanced(of_classes: Sequence[Features]) -> Features:
    count = min(map(len, of_classes))
    return np.concatenate([features[:count] for features in of_classes])


def _moments(features: Features) -> tuple[Floats, Floats]:
    exact = features.astype(np.float64)
    return exact.mean(axis=0), np.atleast_2d(np.cov(exact, rowvar=False))


def _root(covariance: Floats) -> Floats:
    """Return A with AA' = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(values.clip(min=0)), np.float64)


MEASURES.register(FrechetSettings, FrechetDistance)
