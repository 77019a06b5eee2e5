"""The handwritten digits that scikit-learn ships: 1,797 images of 8x8, from the UCI Optical Recognition data set."""

from functools import partial
from typing import Literal, Self

import cv2
import numpy as np
from pydantic import model_validator

from engine.config.data_spec import SOURCES, MaskedSourceSettings, MaskPalette
from engine.data.masks import Mask
from engine.data.real_image import RealImage, RealSet
from shards.codec import Pixels, encode_rgb

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_FINER = 4  # side of the cells of the 32x32 bitmaps from which the 8x8 images were counted


class DigitsSettings(MaskedSourceSettings):
    """Settings of the source `digits`, which needs no file."""

    source: Literal["digits"]
    masks: MaskPalette | None = None
    """Dense labels: the background, then the ten digits; a stroke has its digit's class."""

    @model_validator(mode="after")
    def _palette_has_all_classes(self) -> Self:
        if self.masks is not None and len(self.masks.palette) != 1 + len(CLASSES):
            raise ValueError(
                f"masks.palette: has {len(self.masks.palette)} classes; the digits' masks have 11: the background, "
                "then the ten digits"
            )
        return self


def open_digits(settings: DigitsSettings) -> RealSet:
    """Read the digits; their 17 grey levels become 0 to 255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.rint(data.images * (255 / 16)).astype(np.uint8)
    images = []
    for i, label in enumerate(map(int, data.target)):
        read_mask = None if settings.masks is None else partial(_strokes, grey[i], label)
        read = partial(encode_rgb, np.repeat(grey[i, :, :, None], 3, axis=2), "png")
        images.append(RealImage(label, CLASSES[label], f"digits[{i}]", read, read_mask))
    return RealSet(CLASSES, tuple(images))


def _strokes(grey: Pixels, label: int) -> Mask:
    """Return the mask in the bitmap's pixels, (32, 32): label + 1 where at least half is ink, else 0."""
    side = _FINER * len(grey)
    fine = cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.where(fine > 127, label + 1, 0).astype(np.uint8)


SOURCES.register(DigitsSettings, open_digits)
