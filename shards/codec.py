"""Encodes and decodes images, as uint8 RGB arrays of shape (height, width, 3), and masks."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Encoded = bytes | NDArray[np.uint8]
"""An encoded file: bytes, or a uint8 array over them, which may be a piece of a memory map."""

_MAX_PIXELS = 1 << 30  # cv2's own limit

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own errors report what cannot be read
cv2.setNumThreads(1)  # we decode one image per thread; cv2's own pool would compete with them


class CorruptImage(ValueError):
    """The bytes are no image, or a damaged one."""


def decode_rgb(data: Encoded, out: Pixels | None = None) -> Pixels:
    """Decode png, jpg, webp and other formats of cv2 to RGB. Raises CorruptImage, also for a JPEG that is cut short.

    Grey is repeated, alpha is dropped, 16 bits are cut to 8, and EXIF rotation is applied.
    out: contiguous array. A JPEG of exactly its shape is decoded into it, and it is returned. Else a new array is.
    """
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    # EXIF data may rotate a JPEG. It is the first segment, or follows that of JFIF.
    if len(array) and array[0] == 0xFF and b"Exif" not in array[:64].tobytes():
        pixels = _decode_jpeg(array, out)
        if pixels is not None:
            return pixels
    decoded: Pixels | None = _decode_by_cv2(array, cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise CorruptImage(f"{len(array)} bytes that are no image")
    return decoded


def _decode_jpeg(array: Pixels, out: Pixels | None) -> Pixels | None:
    """Decode by libjpeg-turbo, which saves a copy and cv2's allocation. Return None if only cv2 can decode it."""
    try:
        if out is None:  # nothing larger than `out` is decoded into it
            height, width, *_ = simplejpeg.decode_jpeg_header(array)
            if height * width > _MAX_PIXELS:
                raise CorruptImage(f"{width:,} x {height:,} pixels are more than an image may have")
        pixels = simplejpeg.decode_jpeg(array, "RGB", buffer=out)
        return out if out is not None and out.shape == pixels.shape else np.asarray(pixels, np.uint8)
    except CorruptImage:
        raise
    except ValueError as error:
        if "premature end" in str(error).lower():  # of file or of data; cv2 would invent the rest
            raise CorruptImage(f"JPEG cut short: {error}") from None
    if out is not None:  # it may have been too small
        return _decode_jpeg(array, None)
    return None


def _decode_by_cv2(array: Pixels, flags: int) -> Any:
    """Return an array of any shape and dtype; None if the bytes are no image."""
    try:
        return cv2.imdecode(array, flags) if len(array) else None
    except cv2.error as error:
        raise CorruptImage(str(error)) from None


def detect_format(data: bytes) -> str | None:
    """Return png, jpg or webp, by the first bytes of an encoded image; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def encode_rgb(pixels: Pixels, format: str, quality: int = 95) -> bytes:
    """Encode as png (lossless, `quality` is not used), jpg or webp. Equal pixels give equal bytes."""
    options: Sequence[int] = {
        "png": [],
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }[format]
    done, encoded = cv2.imencode(f".{format}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"cannot encode an image of shape {pixels.shape} as {format}")
    return bytes(encoded)


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """Encode class indices (height, width) as a grey PNG."""
    done, encoded = cv2.imencode(".png", mask)
    if not done:
        raise ValueError(f"cannot encode a mask of shape {mask.shape}")
    return bytes(encoded)


def decode_mask(data: Encoded) -> NDArray[np.uint8]:
    """Decode the class indices (height, width) of a grey PNG. Raises CorruptImage."""
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    mask = _decode_by_cv2(array, cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise CorruptImage(f"{len(array)} bytes that are no mask of class indices")
    return np.asarray(mask, np.uint8)


def fit_rgb(pixels: Pixels, height: int, width: int) -> Pixels:
    """Scale an image until it covers height x width, and crop it to that around the centre.

    Interpolation is cubic for growing, and averages areas (so it is antialiased) for shrinking.
    """
    shrinks = height < pixels.shape[0] and width < pixels.shape[1]
    return _fit(pixels, height, width, cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def fit_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale and crop class indices as `fit_rgb` does, but take the nearest one instead of an average."""
    return _fit(mask, height, width, cv2.INTER_NEAREST_EXACT)


def _fit(pixels: Pixels, height: int, width: int, interpolation: int) -> Pixels:
    old_height, old_width = pixels.shape[:2]
    scale = max(height / old_height, width / old_width)
    size = max(width, round(old_width * scale)), max(height, round(old_height * scale))
    if size != (old_width, old_height):
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.uint8)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
