"""Kernel distance of two sets of features, called KID in the literature where the encoder is Inception."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.distances import Features
from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column

_BLOCK_IMAGES = 1000


class KernelSettings(MeasureSettings):
    """Settings of the measure `kd`."""

    name: Literal["kd"]


class KernelMeasure(Measure):
    """Kernel distance with its standard error; of all classes the mean."""

    order = 20

    @property
    def columns(self) -> tuple[Column, ...]:
        """The distance, titled by its encoder: KID is defined for Inception only."""
        title = f"KD ({self.encoder.short_name})"
        return (Column(name="kd", title=title, decimals=3, standard_error="kd_standard_error"),)

    def of_class(self, images: MeasuredImages) -> Values:
        """Return the distance of one class."""
        distance = kd(images.pair.real, images.pair.synthetic)
        return {"kd": distance.mean, "kd_standard_error": distance.standard_error}

    def of_all(self, images: MeasuredImages, of_classes: Sequence[Values]) -> Values:
        """Return the mean distance; the errors of classes are independent."""
        known = [values for values in of_classes if values["kd"] is not None]
        if not known:
            return {}
        squared_error = sum(float(values["kd_standard_error"] or 0) ** 2 for values in known)
        mean = float(np.mean([values["kd"] for values in known]))
        return {"kd": mean, "kd_standard_error": float(np.sqrt(squared_error) / len(known))}


@dataclass(frozen=True)
class KernelDistance:
    """Squared kernel distance: 0 for equal distributions. It is unbiased, so it may be negative."""

    mean: float
    standard_error: float


def kd(real: Features, synthetic: Features, seed: int = 0) -> KernelDistance:
    """Return the squared maximum mean discrepancy with the kernel (x.y / dimensions + 1)^3, unbiased (Binkowski et al.,
    "Demystifying MMD GANs", 2018).

    It is the mean over disjoint random blocks of at most 1,000 images of each set. The standard error is that of the
    jackknife (Arvesen, 1969), which is defined for a single block too. Both sets need at least 3 images.
    """
    smaller = min(len(real), len(synthetic))
    blocks = -(-smaller // _BLOCK_IMAGES)
    random = np.random.default_rng(seed)
    drawn = [
        np.array_split(random.permutation(features)[: blocks * _BLOCK_IMAGES], blocks) for features in (real, synthetic)
    ]
    of_blocks = np.array([_discrepancy(*pair) for pair in zip(*drawn, strict=True)])
    return KernelDistance(float(of_blocks[:, 0].mean()), float(np.sqrt(of_blocks[:, 1].sum()) / blocks))


def _discrepancy(real: Features, synthetic: Features) -> tuple[float, float]:
    """Return the unbiased squared discrepancy of two blocks, and its jackknife variance."""
    n, m = len(real), len(synthetic)
    within_real, within_synthetic, cross = _kernel_sums(real), _kernel_sums(synthetic), _kernel(real, synthetic)
    cross_of_real, cross_of_synthetic = cross.sum(axis=1), cross.sum(axis=0)
    a, b, c = within_real.sum(), within_synthetic.sum(), cross.sum()
    squared = a / (n * (n - 1)) + b / (m * (m - 1)) - 2 * c / (n * m)
    # The jackknife leaves out one image at a time: the sums less that image's part in them.
    without_real = (
        (a - 2 * within_real) / ((n - 1) * (n - 2)) + b / (m * (m - 1)) - 2 * (c - cross_of_real) / ((n - 1) * m)
    )
    without_synthetic = (
        (b - 2 * within_synthetic) / ((m - 1) * (m - 2))
        + a / (n * (n - 1))
        - 2 * (c - cross_of_synthetic) / (n * (m - 1))
    )
    return float(squared), float((n - 1) * without_real.var() + (m - 1) * without_synthetic.var())


def _kernel_sums(features: Features) -> NDArray[np.float64]:
    """Return the sum of each image's kernel with all other images of the set."""
    kernel = _kernel(features, features)
    return np.asarray(kernel.sum(axis=1) - np.diagonal(kernel), np.float64)


def _kernel(ours: Features, theirs: Features) -> NDArray[np.float64]:
    exact = ours.astype(np.float64) @ theirs.astype(np.float64).T
    return np.asarray((exact / ours.shape[1] + 1) ** 3, np.float64)


MEASURES.register(KernelSettings, KernelMeasure)
