"""The handwritten digits that scikit-learn ships: 1,797 images of 8x8, from the UCI Optical Recognition data set."""

from functools import partial

import numpy as np

from engine.sources.base import RealImage, RealSet
from shards.codec import Pixels, encode_rgb

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def open_digits() -> RealSet:
    """Read the digits; their 17 grey levels become 0 to 255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = np.rint(found.images * (255 / 16)).astype(np.uint8)
    images = (
        RealImage(int(label), CLASSES[label], f"digits[{i}]", partial(_png, grey[i]))
        for i, label in enumerate(found.target)
    )
    return RealSet(CLASSES, tuple(images))


def _png(grey: Pixels) -> bytes:
    return encode_rgb(np.repeat(grey[:, :, None], 3, axis=2), "png")
