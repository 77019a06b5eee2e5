"""The choice of each slot's condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.config.condition_spec import ConditionSpec, MasksCondition, RealCondition, ShapesCondition
from engine.config.palette import Palette
from engine.data.masks import Mask, colours_of
from engine.generators.conditioning.condition import Condition, ImageCondition, Layout, WarpedLayout
from engine.generators.conditioning.layouts import draw_shapes
from engine.seeds import permute
from engine.types import Slot
from shards.codec import Pixels, decode_mask, decode_rgb
from shards.storage.manifest import finished_tars, read_index_rows

_DRAWN_SIDE = 512
"""Pixels of both sides of a drawn layout, which is resized to the shape of the images."""

_StoredImage = tuple[Path, Mapping[str, Any]]
"""An image or layout: its tar, and its row of the index."""


@dataclass(frozen=True)
class ConditionSampler:
    """The conditions of a run. folder: the shards of its images or layouts; None if layouts are drawn."""

    spec: ConditionSpec
    folder: Path | None
    classes: tuple[str, ...]
    palette: Palette | None

    def condition(self, slot: Slot, seed: int, source: str) -> Condition:
        """Return the condition of a slot.

        seed:   of the attempt; drawn and warped layouts follow from it.
        source: digest of the real image that the prompt describes, or "". A condition on real images uses that image,
                or else the next image of the slot's class.
        """
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
    return decode_rgb(_read_bytes(tar, row["image_offset"], row["image_size"]))


def _read_mask(tar: Path, row: Mapping[str, Any]) -> Mask:
    return decode_mask(_read_bytes(tar, row["mask_offset"], row["mask_size"]))


def _read_bytes(tar: Path, offset: int, size: int) -> bytes:
    with tar.open("rb") as file:
        file.seek(offset)
        return file.read(size)
