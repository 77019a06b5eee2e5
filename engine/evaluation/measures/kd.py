"""Kernel distance of two sets of features, called KID in the literature where the encoder is Inception."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column, EncoderInfo
from engine.evaluation.neighbours import Features

_BLOCK_IMAGES = 1000


class KernelSettings(MeasureSettings):
    """Settings of the measure `kd`."""

    name: Literal["kd"]


class KernelDistance(Measure):
    """Kernel distance with its standard error."""

    order = 20

    def __init__(self, settings: KernelSettings, encoder: EncoderInfo) -> None:
        title = f"KD ({encoder.short_name})"
        self.columns = (Column(name="kd", title=title, decimals=3, standard_error="kd_standard_error"),)

    def compute(self, images: MeasuredImages) -> Values:
        """Return the distance of one class."""
        mean, standard_error = kd(*images.pair)
        return {"kd": mean, "kd_standard_error": standard_error}


def kd(real: Features, synthetic: Features, seed: int = 0) -> tuple[float, float]:
    """Return the squared maximum mean discrepancy with the kernel (x.y / dimensions + 1)^3, and its standard error.

    The mean over disjoint random blocks of at most 1,000 images of each set; unbiased, so it may be negative (Binkowski
    et al., "Demystifying MMD GANs", 2018). The error is the jackknife's (Arvesen, 1969). Each set needs 3 images.
    """
    blocks = -(-min(len(real), len(synthetic)) // _BLOCK_IMAGES)
    random = np.random.default_rng(seed)
    drawn = [
        np.array_split(random.permutation(features)[: blocks * _BLOCK_IMAGES], blocks) for features in (real, synthetic)
    ]
    of_blocks = np.array([_discrepancy(*pair) for pair in zip(*drawn, strict=True)])
    return float(of_blocks[:, 0].mean()), float(np.sqrt(of_blocks[:, 1].sum()) / blocks)


def _discrepancy(real: Features, synthetic: Features) -> tuple[float, float]:
    """Return the unbiased squared discrepancy of two blocks, and its jackknife variance."""
    n, m = len(real), len(synthetic)
    of_real, of_synthetic, cross = _kernel_sums(real), _kernel_sums(synthetic), _kernel(real, synthetic)
    a, b, c = of_real.sum(), of_synthetic.sum(), cross.sum()
    # The jackknife leaves out one image at a time: the sums less that image's part in them.
    without_real = _squared(a - 2 * of_real, n - 1, b, m, c - cross.sum(axis=1))
    without_synthetic = _squared(a, n, b - 2 * of_synthetic, m - 1, c - cross.sum(axis=0))
    return float(_squared(a, n, b, m, c)), float((n - 1) * without_real.var() + (m - 1) * without_synthetic.var())


def _squared(within_real: Any, n: int, within_synthetic: Any, m: int, cross: Any) -> Any:
    """Return the squared discrepancy from sums of the kernel over pairs of n real and m synthetic images."""
    return within_real / (n * (n - 1)) + within_synthetic / (m * (m - 1)) - 2 * cross / (n * m)


def _kernel_sums(features: Features) -> NDArray[np.float64]:
    """Return the sum of each image's kernel with all other images of the set."""
    kernel = _kernel(features, features)
    return np.asarray(kernel.sum(axis=1) - np.diagonal(kernel), np.float64)


def _kernel(ours: Features, theirs: Features) -> NDArray[np.float64]:
    exact = ours.astype(np.float64) @ theirs.astype(np.float64).T
    return np.asarray((exact / ours.shape[1] + 1) ** 3, np.float64)


MEASURES.register(KernelSettings, KernelDistance)
