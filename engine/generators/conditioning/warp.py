"""Smooth changes of an image and its mask: turned, scaled, moved and bent, both in the same way."""

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
    """Where each pixel comes from: columns x and rows y in pixels, float32 (height, width)."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]

    def image(self, pixels: Pixels) -> Pixels:
        """uint8 (height, width, 3), linear between pixels."""
        return np.asarray(cv2.remap(pixels, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)

    def mask(self, mask: Mask) -> Mask:
        """Each pixel of the class that has most of it, for there is nothing between two classes."""
        classes = np.unique(mask)
        parts = [
            cv2.remap((mask == one).astype(np.float32), self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            for one in classes
        ]
        return np.asarray(classes[np.argmax(parts, axis=0)], np.uint8)


def draw_warp(spec: WarpSpec, rng: np.random.Generator, height: int, width: int) -> Warp:
    """For images of this shape; of another size with the same draws, the same change."""
    turn = math.radians(rng.uniform(-spec.rotation, spec.rotation))
    scale = 1 + rng.uniform(-spec.scale, spec.scale)
    across, down = rng.uniform(-spec.shift, spec.shift, 2)
    grid = rng.uniform(-spec.bend, spec.bend, (_GRID, _GRID, 2)).astype(np.float32)
    bend = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    # From the middle of the image, and back to it, so that turns and scales are about the middle.
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    found_x = cos * x + sin * y + (width - 1) / 2 + width * (across + bend[..., 0])
    found_y = cos * y - sin * x + (height - 1) / 2 + height * (down + bend[..., 1])
    return Warp(found_x.astype(np.float32), found_y.astype(np.float32))
