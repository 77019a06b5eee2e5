"""The condition of one image: a real image, its edges, or a layout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.config.condition_spec import EdgesSpec, MasksCondition
from engine.data.masks import Mask
from engine.generators.conditioning.warp import draw_warp
from shards.codec import Pixels, fit_mask, fit_rgb


class Condition(Protocol):
    """What an image must follow."""

    @property
    def source(self) -> str:
        """SHA-256 of the image or layout that it is made from; "" if it is drawn."""

    def control(self, height: int, width: int) -> Pixels:
        """Return what the generator sees, in the size of the generated image: uint8 (height, width, 3)."""

    def mask_at(self, height: int, width: int) -> Mask | None:
        """Return the label of each pixel, uint8 (height, width), in the size of the stored image; None without."""


@dataclass(frozen=True)
class ImageCondition:
    """A real image, or its edges. read: returns its pixels. edges: None for the image itself."""

    source: str
    read: Callable[[], Pixels]
    edges: EdgesSpec | None

    def control(self, height: int, width: int) -> Pixels:
        """Return the image, cut around its centre and resized, or the edges of that."""
        pixels = fit_rgb(self.read(), height, width)
        if self.edges is None:
            return pixels
        edges = cv2.Canny(pixels, self.edges.low, self.edges.high)
        return np.repeat(np.asarray(edges, np.uint8)[..., None], 3, axis=2)

    def mask_at(self, height: int, width: int) -> Mask | None:
        """Return None: a real image gives no labels of pixels."""
        return None


@dataclass(frozen=True)
class Layout:
    """A map of class indices, which the generator sees in colours: uint8 (classes, 3). read: returns the map."""

    source: str
    read: Callable[[], Mask]
    colours: NDArray[np.uint8]

    def control(self, height: int, width: int) -> Pixels:
        """Return the layout in the palette's colours."""
        return self.colours[self.mask_at(height, width)]

    def mask_at(self, height: int, width: int) -> Mask:
        """Return the class indices, resized to the nearest, since nothing lies between two classes."""
        return np.asarray(cv2.resize(self.read(), (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


@dataclass(frozen=True)
class WarpedLayout(Layout):
    """The mask of a real image, flipped and warped by random numbers from `seed`."""

    spec: MasksCondition
    seed: int

    def mask_at(self, height: int, width: int) -> Mask:
        """Return the class indices, cut around the centre as the image is, then changed: alike in every size."""
        mask, rng = fit_mask(self.read(), height, width), np.random.default_rng(self.seed)
        if self.spec.flip and rng.random() < 0.5:
            mask = mask[:, ::-1]
        return draw_warp(self.spec.warp, rng, height, width).mask(mask)
