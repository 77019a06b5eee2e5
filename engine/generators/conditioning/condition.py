"""One condition: an image, its edges, or a layout."""

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
        """SHA-256 of the image or layout behind it; "" where it was drawn."""
        ...

    def control(self, height: int, width: int) -> Pixels:
        """What the generator sees, in the size in which it generates: uint8 (height, width, 3)."""
        ...

    def mask_at(self, height: int, width: int) -> Mask | None:
        """The label of every pixel in the size in which the image is stored; None without."""
        ...


@dataclass(frozen=True)
class ImageCondition:
    """A real image, or its edges."""

    source: str
    read: Callable[[], Pixels]
    edges: EdgesSpec | None

    def control(self, height: int, width: int) -> Pixels:
        """Cut to the shape around its centre; edges are found at the size in which they are used."""
        pixels = fit_rgb(self.read(), height, width)
        if self.edges is None:
            return pixels
        found = cv2.Canny(pixels, self.edges.low, self.edges.high)
        return np.repeat(np.asarray(found, np.uint8)[..., None], 3, axis=2)

    def mask_at(self, height: int, width: int) -> Mask | None:
        """It has none."""
        return None


@dataclass(frozen=True)
class Layout:
    """Class indices, whose colours are what the generator sees. colours: uint8 (classes, 3)."""

    source: str
    read: Callable[[], Mask]
    colours: NDArray[np.uint8]

    def control(self, height: int, width: int) -> Pixels:
        """In the palette's colours."""
        return self.colours[self.mask_at(height, width)]

    def mask_at(self, height: int, width: int) -> Mask:
        """Scaled to the nearest, for there is nothing between two classes."""
        return np.asarray(cv2.resize(self.read(), (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


@dataclass(frozen=True)
class WarpedLayout(Layout):
    """The mask of a real image, changed as `seed` says."""

    spec: MasksCondition
    seed: int

    def mask_at(self, height: int, width: int) -> Mask:
        """Cut around its centre, as its image is, and then changed: the same in every size."""
        mask, rng = fit_mask(self.read(), height, width), np.random.default_rng(self.seed)
        if self.spec.flip and rng.random() < 0.5:
            mask = mask[:, ::-1]
        return draw_warp(self.spec.warp, rng, height, width).mask(mask)
