"""The handwritten digits that scikit-learn ships: 1,797 images of 8x8, from the UCI Optical Recognition data set."""

from functools import partial

import cv2
import numpy as np

from engine.config.palette import Palette
from engine.data.masks import Mask
from engine.data.real_image import RealImage, RealSet
from engine.errors import SpecError
from shards.codec import Pixels, encode_rgb

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_FINER = 4
"""The images were counted from bitmaps of 32x32, in cells of so many pixels a side."""


def open_digits(palette: Palette | None = None) -> RealSet:
    """Read the digits; their 17 grey levels become 0 to 255.

    palette: of masks, if these are asked for. Raises SpecError for one that has not 11 classes.
    """
    from sklearn.datasets import load_digits

    if palette is not None and len(palette) != 1 + len(CLASSES):
        raise SpecError(
            f"data.masks.palette: has {len(palette)} classes; those of the digits' masks are 11: what is behind the "
            "strokes, then the ten digits"
        )
    found = load_digits()
    grey = np.rint(found.images * (255 / 16)).astype(np.uint8)
    images = (
        RealImage(
            int(label),
            CLASSES[label],
            f"digits[{i}]",
            partial(_png, grey[i]),
            None if palette is None else partial(_strokes, grey[i], int(label)),
        )
        for i, label in enumerate(found.target)
    )
    return RealSet(CLASSES, tuple(images))


def _png(grey: Pixels) -> bytes:
    return encode_rgb(np.repeat(grey[:, :, None], 3, axis=2), "png")


def _strokes(grey: Pixels, label: int) -> Mask:
    """0, and label + 1 where at least half is ink, in the pixels of the bitmap: (32, 32)."""
    side = _FINER * len(grey)
    fine = cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.where(fine > 127, label + 1, 0).astype(np.uint8)
