"""Between encoded images and uint8 RGB arrays of shape (height, width, 3)."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what cannot be read is said by our own errors
cv2.setNumThreads(1)  # we run one image per thread; cv2's own pool would only fight with those


class CorruptImage(ValueError):
    """Bytes that no decoder takes for an image."""


def decode_rgb(data: bytes) -> Pixels:
    """Decode png, jpg, webp and what else cv2 reads: grey is repeated, alpha dropped, 16 bits cut to 8, EXIF turned.

    Raises CorruptImage.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error as error:
        raise CorruptImage(str(error)) from None
    if pixels is None:
        raise CorruptImage(f"{len(data)} bytes that are no image")
    return np.asarray(pixels, np.uint8)


def format_of(data: bytes) -> str | None:
    """png, jpg or webp, by how encoded bytes begin; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def encode_rgb(pixels: Pixels, format: str, quality: int = 95) -> bytes:
    """Encode as png (lossless, `quality` unused), jpg or webp. Equal pixels give equal bytes."""
    options = {
        "png": [],
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }[format]
    done, encoded = cv2.imencode(f".{format}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"cannot encode an image of shape {pixels.shape} as {format}")
    return bytes(encoded)


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """Class indices (height, width) as a grey PNG."""
    done, encoded = cv2.imencode(".png", mask)
    if not done:
        raise ValueError(f"cannot encode a mask of shape {mask.shape}")
    return bytes(encoded)


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Class indices (height, width) of a grey PNG. Raises CorruptImage."""
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise CorruptImage(f"{len(data)} bytes that are no mask of class indices")
    return np.asarray(mask, np.uint8)


def fit_rgb(pixels: Pixels, height: int, width: int) -> Pixels:
    """Scaled until it covers height x width, then cut to that around the centre: cubic when it grows, averaged over
    areas (so antialiased) when it shrinks."""
    have_height, have_width = pixels.shape[:2]
    scale = max(height / have_height, width / have_width)
    size = (max(width, round(have_width * scale)), max(height, round(have_height * scale)))
    if size != (have_width, have_height):
        pixels = np.asarray(
            cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
        )
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
