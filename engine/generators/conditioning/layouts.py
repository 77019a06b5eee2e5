"""Layouts, class indices per pixel: from PNGs of a folder, from shards with masks, from real images, or drawn."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from engine.config.condition_spec import LayoutCondition
from engine.data.foreign_tars import open_masks
from engine.data.masks import Mask
from engine.data.open_source import list_class_folders
from engine.data.real_image import RealImage
from engine.errors import DataError
from shards.codec import encode_mask


def open_layouts(spec: LayoutCondition, classes: Sequence[str]) -> tuple[RealImage, ...]:
    """Return layouts of shards, PATH/<class>/*.png or, for one class, PATH/*.png, labelled by `classes`."""
    path = Path(spec.path).expanduser()
    if path.suffix == ".tar" or any(path.glob("*.tar")):
        names, layouts = open_masks(path, tuple(spec.palette))
    elif files := sorted(path.glob("*.png")):
        if len(classes) > 1:
            raise DataError(
                f"condition.path: {path} holds PNGs, and the run has {len(classes)} classes; sort them into a folder "
                f"per class, like {path / classes[0]}"
            )
        names, layouts = (classes[0],), tuple(RealImage(0, classes[0], str(file), file.read_bytes) for file in files)
    else:
        listing = list_class_folders(str(path), "condition.path")
        names, layouts = listing.classes, listing.images
    _check_classes(path, names, classes)
    labels = {name: label for label, name in enumerate(classes)}
    return tuple(replace(layout, label=labels[layout.class_name]) for layout in layouts)


def _check_classes(path: Path, names: Iterable[str], classes: Sequence[str]) -> None:
    unknown = next((name for name in names if name not in classes), None)
    if unknown is not None:
        similar = difflib.get_close_matches(unknown, classes, n=1)
        advice = f"did you mean {similar[0]!r}?" if similar else f"the run's classes are {', '.join(classes[:20])}"
        raise DataError(f"condition.path: {path} has layouts of a class {unknown!r}, which is unknown; {advice}")


def masks_as_layouts(images: Iterable[RealImage]) -> tuple[RealImage, ...]:
    """Return the masks of real images as grey layouts."""
    return tuple(replace(image, read=partial(_encode_mask, image), read_mask=None) for image in images)


def _encode_mask(image: RealImage) -> bytes:
    return encode_mask(image.mask())


def check_shape(mask: Mask, height: int, width: int, origin: str) -> None:
    """Raise DataError if the aspect ratio of a layout differs from width x height by a pixel or more."""
    mask_height, mask_width = mask.shape
    if abs(mask_height * width - height * mask_width) >= width:
        shape = "square" if height == width else f"{width}x{height}"
        raise DataError(
            f"{origin}: is {mask_width}x{mask_height} pixels, and the images will be {shape}; cut the layout to that "
            "shape, or set model.width and model.height to the layouts'"
        )


def draw_shapes(seed: int, index: int, background: int, most: int, size: tuple[int, int]) -> Mask:
    """Draw one to `most` ellipses, boxes and triangles of class `index` on `background`. size: (height, width)."""
    rng, (height, width) = np.random.default_rng(seed), size
    mask = np.full(size, background, np.uint8)
    for _ in range(int(rng.integers(1, most + 1))):
        high, wide = (max(2, int(rng.uniform(0.2, 0.5) * side)) for side in size)
        top, left = int(rng.integers(0, height - high + 1)), int(rng.integers(0, width - wide + 1))
        _draw_shape(mask, rng, index, (top, left, high, wide))
    return mask


def _draw_shape(mask: Mask, rng: np.random.Generator, index: int, box: tuple[int, int, int, int]) -> None:
    top, left, height, width = box
    shape = int(rng.integers(3))
    if shape == 0:
        centre = (left + width // 2, top + height // 2)
        cv2.ellipse(mask, centre, (width // 2, height // 2), float(rng.uniform(0, 180)), 0, 360, index, -1)
    elif shape == 1:
        cv2.rectangle(mask, (left, top), (left + width - 1, top + height - 1), index, -1)
    else:
        peak = left + int(rng.integers(0, width))
        corners = np.array([(peak, top), (left, top + height - 1), (left + width - 1, top + height - 1)], np.int32)
        cv2.fillPoly(mask, [corners], index)
