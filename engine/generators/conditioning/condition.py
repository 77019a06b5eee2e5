"""The condition of each slot: a real image, its edges, or a layout."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.config.condition_spec import ConditionSpec, EdgesSpec, MasksCondition, RealCondition, ShapesCondition
from engine.config.data_spec import Palette
from engine.data.foreign_tars import read_range
from engine.data.masks import Mask, colours_of
from engine.generators.conditioning.layouts import draw_shapes
from engine.generators.conditioning.warp import draw_warp
from engine.seeds import permute
from engine.types import Slot
from shards.codec import Pixels, decode_mask, decode_rgb, fit_mask, fit_rgb
from shards.storage.manifest import finished_tars, read_index_rows


@dataclass(frozen=True)
class ImageCondition:
    """A real image, or its edges. source: its SHA-256. read: returns its pixels. edges: None for the image itself."""

    source: str
    read: Callable[[], Pixels]
    edges: EdgesSpec | None

    def control(self, height: int, width: int) -> Pixels:
        """Return the image, cut around its centre and resized, or the edges of that: uint8 (height, width, 3)."""
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
    """A map of class indices, which the generator sees in colours. source: its SHA-256; "" if it is drawn."""

    source: str
    read: Callable[[], Mask]
    colours: NDArray[np.uint8]  # (classes, 3)

    def control(self, height: int, width: int) -> Pixels:
        """Return the layout in the palette's colours: uint8 (height, width, 3)."""
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


Condition = ImageCondition | Layout
"""What an image must follow besides its prompt."""

_DRAWN_SIDE = 512  # pixels of both sides of a drawn layout, which is resized to the shape of the images
_StoredImage = tuple[Path, Mapping[str, Any]]  # an image or layout: its tar, and its row of the index


@dataclass(frozen=True)
class ConditionSampler:
    """The conditions of a run's slots. folder: the shards of its images or layouts; None if layouts are drawn."""

    spec: ConditionSpec
    folder: Path | None
    classes: tuple[str, ...]
    palette: Palette | None

    def condition(self, slot: Slot, seed: int, source: str) -> Condition:
        """Return the condition of an attempt at a slot. source: digest of the real image of the prompt, or ""."""
        spec = self.spec
        if isinstance(spec, RealCondition):
            tar, row = self._by_digest[source] if source else self._next_of_class(slot)
            return ImageCondition(row["digest"], partial(_read_image, tar, row), spec.edges)
        if isinstance(spec, ShapesCondition):
            return Layout("", partial(self._draw, spec, slot.label, seed), self._colours)
        tar, row = self._next_of_class(slot)
        read = partial(_read_mask, tar, row)
        if isinstance(spec, MasksCondition):
            return WarpedLayout(row["digest"], read, self._colours, spec, seed)
        return Layout(row["digest"], read, self._colours)

    @cached_property
    def _colours(self) -> NDArray[np.uint8]:
        assert self.palette is not None, "layouts have a palette"
        return colours_of(self.palette)

    def _next_of_class(self, slot: Slot) -> _StoredImage:
        """Return the image of a slot: each image of the class once, in random order, before any is used again."""
        images = self._by_label[slot.label]
        # Each round has another order, so that an image does not always meet the same prompt template.
        round_number, position = divmod(slot.ordinal, len(images))
        return images[permute(position, len(images), round_number)]

    def _draw(self, spec: ShapesCondition, label: int, seed: int) -> Mask:
        names = list(spec.palette)
        index, background = names.index(self.classes[label]), names.index(spec.background)
        return draw_shapes(seed, index, background, spec.most, (_DRAWN_SIDE, _DRAWN_SIDE))

    @cached_property
    def _stored(self) -> list[_StoredImage]:
        assert self.folder is not None, "the assets were gathered"
        return [(tar, row) for tar in finished_tars(self.folder) for row in read_index_rows(tar)]

    @cached_property
    def _by_label(self) -> dict[int, list[_StoredImage]]:
        images: dict[int, list[_StoredImage]] = {}
        for tar, row in self._stored:
            images.setdefault(row["label"], []).append((tar, row))
        return images

    @cached_property
    def _by_digest(self) -> dict[str, _StoredImage]:
        return {row["digest"]: (tar, row) for tar, row in self._stored}


def _read_image(tar: Path, row: Mapping[str, Any]) -> Pixels:
    return decode_rgb(read_range(tar, row["image_offset"], row["image_size"]))


def _read_mask(tar: Path, row: Mapping[str, Any]) -> Mask:
    return decode_mask(read_range(tar, row["mask_offset"], row["mask_size"]))
