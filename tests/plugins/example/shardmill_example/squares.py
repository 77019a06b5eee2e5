"""A source of real images: grey squares on black, small ones and large ones."""

from functools import partial
from typing import Literal

import numpy as np

from engine.config.data_spec import SOURCES, SourceSettings
from engine.data.real_image import RealImage, RealSet
from shards.codec import encode_rgb


class SquaresSettings(SourceSettings):
    source: Literal["squares"]
    count: int = 40


def open_squares(settings: SquaresSettings) -> RealSet:
    classes = ("small", "large")
    images = (
        RealImage(label, classes[label], f"squares[{number}]", partial(_draw, label, number))
        for number in range(settings.count)
        for label in range(2)
    )
    return RealSet(classes, tuple(images))


def _draw(label: int, number: int) -> bytes:
    pixels = np.zeros((16, 16, 3), np.uint8)
    side = 4 + 6 * label
    pixels[2 : 2 + side, 2 : 2 + side] = 100 + number
    return encode_rgb(pixels, "png")


SOURCES.register(SquaresSettings, open_squares)
