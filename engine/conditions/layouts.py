"""Layouts: class indices per pixel, from colour-coded or grey PNGs of a folder, from shards with masks, or drawn."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.conditions.base import Mask
from engine.errors import DataError
from engine.sources.base import RealImage
from engine.sources.imagefolder import open_imagefolder
from engine.sources.webdataset import open_masks
from engine.spec.condition import Colour, LayoutCondition

_PLACE_VALUES = np.array([1 << 16, 1 << 8, 1])
"""Make one number of the three channels of a colour."""


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
        found = open_imagefolder(str(place), "condition.path")
        names, layouts = found.classes, found.images
    known = {name: label for label, name in enumerate(classes)}
    if unknown := [name for name in names if name not in known]:
        near = difflib.get_close_matches(unknown[0], classes, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"the run's classes are {', '.join(classes[:20])}"
        raise DataError(f"condition.path: {place} has layouts of a class {unknown[0]!r}, which is unknown; {advice}")
    return tuple(RealImage(known[one.class_name], one.class_name, one.origin, one.read) for one in layouts)


def colours_of(palette: Mapping[str, Colour]) -> NDArray[np.uint8]:
    """uint8 (classes, 3): the colour of each index."""
    return np.array(list(palette.values()), np.uint8)


def read_layout(data: bytes, palette: Mapping[str, Colour], origin: str) -> Mask:
    """Class indices from a PNG in the palette's colours or of grey indices. Raises DataError for anything else."""
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        found = None
    if found is None or found.dtype != np.uint8:
        raise DataError(f"{origin}: not a PNG of 8 bits a channel, or broken off; save the layout again")
    if found.ndim == 3:
        return _indices(np.asarray(cv2.cvtColor(found[..., :3], cv2.COLOR_BGR2RGB), np.uint8), palette, origin)
    if (highest := int(found.max())) >= len(palette):
        raise DataError(
            f"{origin}: a grey layout holds class indices, and {highest} is none of the {len(palette)} of "
            "condition.palette; save it in the palette's colours as RGB, or mend it"
        )
    return np.asarray(found, np.uint8)


def check_shape(mask: Mask, height: int, width: int, origin: str) -> None:
    """Raises DataError where a layout lacks the shape of width x height by one of its pixels or more."""
    high, wide = mask.shape
    if abs(high * width - height * wide) >= width:
        shape = "square" if height == width else f"{width}x{height}"
        raise DataError(
            f"{origin}: is {wide}x{high} pixels, and the images will be {shape}; cut the layout to that shape, or set "
            "model.width and model.height to the layouts'"
        )


def _indices(pixels: NDArray[np.uint8], palette: Mapping[str, Colour], origin: str) -> Mask:
    codes = colours_of(palette) @ _PLACE_VALUES
    order = np.argsort(codes)
    wanted = pixels @ _PLACE_VALUES
    nearest = order[np.searchsorted(codes, wanted, sorter=order).clip(max=len(codes) - 1)]
    unknown = np.argwhere(codes[nearest] != wanted)
    if len(unknown):
        row, column = unknown[0]
        shown = ", ".join(map(str, pixels[row, column]))
        raise DataError(
            f"{origin}: pixel {column},{row} has the colour [{shown}], which condition.palette does not name; add it, "
            "or save the layout without smoothing and as PNG"
        )
    return np.asarray(nearest, np.uint8)


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
