"""Smooth changes of an image and its mask: rotation, scale, shift and elastic distortion."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.config.condition_spec import WarpSpec
from engine.data.masks import Mask
from shards.codec import Pixels

_GRID = 4


@dataclass(frozen=True)
class Warp:
    """The source of each pixel: columns x and rows y in pixels, float32 (height, width)."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]

    def image(self, pixels: Pixels) -> Pixels:
        """Warp pixels, uint8 (height, width, 3), with linear interpolation."""
        return np.asarray(self._remap(pixels), np.uint8)

    def mask(self, mask: Mask) -> Mask:
        """Warp a mask: each pixel gets the class that covers most of it, since nothing lies between two classes."""
        classes = np.unique(mask)
        shares = [self._remap((mask == index).astype(np.float32)) for index in classes]
        return np.asarray(classes[np.argmax(shares, axis=0)], np.uint8)

    def _remap(self, values: cv2.typing.MatLike) -> cv2.typing.MatLike:
        return cv2.remap(values, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def draw_warp(spec: WarpSpec, rng: np.random.Generator, height: int, width: int) -> Warp:
    """Draw a warp for images of this size. The same draws in another size are the same change."""
    angle = math.radians(rng.uniform(-spec.rotation, spec.rotation))
    scale = 1 + rng.uniform(-spec.scale, spec.scale)
    shift_x, shift_y = rng.uniform(-spec.shift, spec.shift, 2)
    grid = rng.uniform(-spec.bend, spec.bend, (_GRID, _GRID, 2)).astype(np.float32)
    bend = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    # Coordinates relative to the centre of the image, so that it is rotated and scaled about its centre.
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    source_x = cos * x + sin * y + (width - 1) / 2 + width * (shift_x + bend[..., 0])
    source_y = cos * y - sin * x + (height - 1) / 2 + height * (shift_y + bend[..., 1])
    return Warp(source_x.astype(np.float32), source_y.astype(np.float32))
