"""Layouts: class indices per pixel, from PNGs of a folder, from shards with masks, from real images, or drawn."""

import difflib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from engine.config.condition_spec import LayoutCondition
from engine.data.masks import Mask
from engine.data.real_image import RealImage
from engine.data.folder_listing import list_class_folders
from engine.data.foreign_tars import open_masks
from engine.errors import DataError
from shards.codec import encode_mask


def open_layouts(spec: LayoutCondition, classes: Sequence[str]) -> tuple[RealImage, ...]:
    """The layouts of a folder of shards, of PATH/<class>/*.png, or, where there is one class, of PATH/*.png.

    Labels are indices into `classes`. Raises DataError.
    """
    place = Path(spec.path).expanduser()
    if place.suffix == ".tar" or any(place.glob("*.tar")):
        names, layouts = open_masks(place, tuple(spec.palette))
    elif flat := sorted(place.glob("*.png")):
        if len(classes) > 1:
            raise DataError(
                f"condition.path: {place} holds PNGs, and the run has {len(classes)} classes; sort them into a folder "
                f"per class, like {place / classes[0]}"
            )
        names, layouts = (classes[0],), tuple(RealImage(0, classes[0], str(file), file.read_bytes) for file in flat)
    else:
        found = list_class_folders(str(place), "condition.path")
        names, layouts = found.classes, found.images
    known = {name: label for label, name in enumerate(classes)}
    if unknown := [name for name in names if name not in known]:
        near = difflib.get_close_matches(unknown[0], classes, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"the run's classes are {', '.join(classes[:20])}"
        raise DataError(f"condition.path: {place} has layouts of a class {unknown[0]!r}, which is unknown; {advice}")
    return tuple(RealImage(known[one.class_name], one.class_name, one.origin, one.read) for one in layouts)


def masks_as_layouts(images: Iterable[RealImage]) -> tuple[RealImage, ...]:
    """The masks of real images as grey layouts."""
    return tuple(RealImage(one.label, one.class_name, one.origin, partial(_grey, one)) for one in images)


def check_shape(mask: Mask, height: int, width: int, origin: str) -> None:
    """Raises DataError where a layout lacks the shape of width x height by one of its pixels or more."""
    high, wide = mask.shape
    if abs(high * width - height * wide) >= width:
        shape = "square" if height == width else f"{width}x{height}"
        raise DataError(
            f"{origin}: is {wide}x{high} pixels, and the images will be {shape}; cut the layout to that shape, or set "
            "model.width and model.height to the layouts'"
        )


def _grey(image: RealImage) -> bytes:
    return encode_mask(image.mask())


def draw_shapes(seed: int, index: int, background: int, most: int, side: tuple[int, int]) -> Mask:
    """One to `most` ellipses, boxes and triangles of class `index` on `background`; side: (height, width)."""
    noise, (height, width) = np.random.default_rng(seed), side
    mask = np.full(side, background, np.uint8)
    for _ in range(int(noise.integers(1, most + 1))):
        high, wide = (max(2, int(noise.uniform(0.2, 0.5) * whole)) for whole in side)
        top, left = int(noise.integers(0, height - high + 1)), int(noise.integers(0, width - wide + 1))
        kind = int(noise.integers(3))
        if kind == 0:
            centre = (left + wide // 2, top + high // 2)
            cv2.ellipse(mask, centre, (wide // 2, high // 2), float(noise.uniform(0, 180)), 0, 360, index, -1)
        elif kind == 1:
            cv2.rectangle(mask, (left, top), (left + wide - 1, top + high - 1), index, -1)
        else:
            peak = left + int(noise.integers(0, wide))
            corners = np.array([(peak, top), (left, top + high - 1), (left + wide - 1, top + high - 1)], np.int32)
            cv2.fillPoly(mask, [corners], index)
    return mask
