"""Measures of drawn strokes: weight, slant, size and contrast.

All take an RGB uint8 image (H, W, 3) in which ink is bright and paper is black.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Ink = NDArray[np.float32]


def stroke_weight(image: Rgb) -> float:
    """Return the mean stroke width in pixels: twice the ink over the total variation.

    A stroke of length L, width w and level p holds L*w*p ink, and its two edges contribute 2*L*p variation.
    The level cancels out, so contrast does not change the measure.
    """
    ink = _ink(image)
    across = np.abs(np.diff(ink, axis=1, append=0))
    down = np.abs(np.diff(ink, axis=0, append=0))
    variation = float(np.sqrt(across**2 + down**2).sum())
    return 2.0 * float(ink.sum()) / max(variation, 1e-6)


def slant(image: Rgb) -> float:
    """Return the slant in degrees, positive to the right: the shear of the second moments, as in deskewing digits."""
    _, xy, yy = _moments(_ink(image))
    return float(np.degrees(np.arctan2(-xy, max(yy, 1e-6))))


def size(image: Rgb) -> float:
    """Return the root mean square distance of the ink from its centre, in pixels."""
    xx, _, yy = _moments(_ink(image))
    return float(np.sqrt(xx + yy))


def contrast(image: Rgb) -> float:
    """Return the level of the brightest ink, the 95th percentile of the pixels, in [0, 1]."""
    return float(np.quantile(_ink(image), 0.95))


def _ink(image: Rgb) -> Ink:
    """Return the ink of each pixel: float (H, W) in [0, 1]."""
    ink: Ink = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    return ink


def _moments(image: Ink) -> tuple[float, float, float]:
    """Return the central second moments (xx, xy, yy) in square pixels, weighted by ink."""
    ink = image.astype(np.float64)
    total = max(float(ink.sum()), 1e-6)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    xs -= (xs * ink).sum() / total
    ys -= (ys * ink).sum() / total
    return (
        float((xs * xs * ink).sum() / total),
        float((xs * ys * ink).sum() / total),
        float((ys * ys * ink).sum() / total),
    )
