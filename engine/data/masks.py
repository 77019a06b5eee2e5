"""Masks: class indices per pixel, from PNGs in the colours of a palette or of grey indices."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.config.data_spec import Colour
from engine.errors import DataError

Mask = NDArray[np.uint8]
"""Class index of every pixel: uint8 (height, width)."""

_PLACE_VALUES = np.array([1 << 16, 1 << 8, 1])  # make one number of the three channels of a colour


def colours_of(palette: Mapping[str, Colour]) -> NDArray[np.uint8]:
    """Return the colour of each class index: uint8 (classes, 3)."""
    return np.array(list(palette.values()), np.uint8)


def read_mask(data: bytes, palette: Mapping[str, Colour], origin: str, key: str) -> Mask:
    """Decode a PNG in the palette's colours or of grey class indices. key: of the palette in the spec, for errors."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint8:
        raise DataError(f"{origin}: not a PNG of 8 bits a channel, or truncated; save the mask again")
    if pixels.ndim == 3:
        return _indices(np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB), np.uint8), palette, origin, key)
    if (highest := int(pixels.max())) >= len(palette):
        raise DataError(
            f"{origin}: a grey mask holds class indices, and {highest} is none of the {len(palette)} of {key}; save it "
            "in the palette's colours as RGB, or correct it"
        )
    return np.asarray(pixels, np.uint8)


def _indices(pixels: NDArray[np.uint8], palette: Mapping[str, Colour], origin: str, key: str) -> Mask:
    codes = colours_of(palette) @ _PLACE_VALUES
    order = np.argsort(codes)
    wanted = pixels @ _PLACE_VALUES
    nearest = order[np.searchsorted(codes, wanted, sorter=order).clip(max=len(codes) - 1)]
    unknown = np.argwhere(codes[nearest] != wanted)
    if len(unknown):
        row, column = unknown[0]
        shown = ", ".join(map(str, pixels[row, column]))
        raise DataError(
            f"{origin}: pixel {column},{row} has the colour [{shown}], which {key} does not name; add it, or save the "
            "mask without smoothing and as PNG"
        )
    return np.asarray(nearest, np.uint8)
