"""What can be measured on a photograph and has a word: brightness, tones, saturation, warmth and detail.

All take an RGB uint8 image (H, W, 3) and reckon on the scale 0 to 1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]


def brightness(image: Rgb) -> float:
    """Mean luma (ITU-R BT.601)."""
    return float(_luma(image).mean())


def tones(image: Rgb) -> float:
    """Standard deviation of luma over the pixels: contrast as a whole, wherever in the image it is."""
    return float(_luma(image).std())


def saturation(image: Rgb) -> float:
    """Mean chroma: the highest less the lowest of a pixel's three channels, so that dark noise does not count."""
    return float((image.max(axis=2).astype(np.float32) - image.min(axis=2)).mean()) / 255.0


def warmth(image: Rgb) -> float:
    """Mean of red less blue, from -1 to 1."""
    red, _, blue = image.reshape(-1, 3).mean(axis=0)
    return float(red - blue) / 255.0


def detail(image: Rgb) -> float:
    """Mean absolute difference of neighbouring pixels' luma, relative to `tones`: how much of the contrast is fine."""
    luma = _luma(image)
    steps = (np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2
    return float(steps) / max(float(luma.std()), 1e-3)


def _luma(image: Rgb) -> NDArray[np.float32]:
    luma: NDArray[np.float32] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    return luma
