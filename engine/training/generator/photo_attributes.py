"""Measures of photographs: brightness, tones, saturation, warmth and detail.

All take an RGB uint8 image (H, W, 3) and return a number on the scale 0 to 1, except `warmth` and `detail`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]


def brightness(image: Rgb) -> float:
    """Return the mean luma (ITU-R BT.601)."""
    return float(_luma(image).mean())


def tones(image: Rgb) -> float:
    """Return the standard deviation of luma over the pixels: the global contrast."""
    return float(_luma(image).std())


def saturation(image: Rgb) -> float:
    """Return the mean chroma, a pixel's highest minus its lowest channel. Dark noise hardly counts in it."""
    return float((image.max(axis=2).astype(np.float32) - image.min(axis=2)).mean()) / 255.0


def warmth(image: Rgb) -> float:
    """Return the mean of red minus blue, from -1 to 1."""
    red, _, blue = image.reshape(-1, 3).mean(axis=0)
    return float(red - blue) / 255.0


def detail(image: Rgb) -> float:
    """Return the mean absolute luma difference of neighbouring pixels, relative to `tones`: the fine contrast."""
    luma = _luma(image)
    steps = (np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2
    return float(steps) / max(float(luma.std()), 1e-3)


def _luma(image: Rgb) -> NDArray[np.float32]:
    luma: NDArray[np.float32] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    return luma
