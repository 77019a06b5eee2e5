"""Thumbnails of samples as data URIs."""

import base64
from dataclasses import dataclass

from engine.report.sample_refs import SampleRef
from shards.codec import Pixels, encode_rgb, fit_rgb

_PROMPT_LENGTH = 300
_ENCODINGS = (("png", 0), ("webp", 85), ("webp", 60), ("webp", 30), ("webp", 5))
"""Formats and qualities that are tried in this order until the data are small enough; PNG is lossless."""


@dataclass(frozen=True)
class ThumbnailLimit:
    """The largest thumbnail.

    side: pixels of the longer side. A smaller image keeps its size, and the page enlarges it.
    size: bytes, including those of a mask. The last encoding may exceed it.
    """

    side: int
    size: int


LARGE, SMALL = ThumbnailLimit(96, 5_000), ThumbnailLimit(64, 2_500)


@dataclass(frozen=True)
class Thumbnail:
    """A sample's small image.

    strategy, prompt: "" for a real image.
    source:           data URI; `width` and `height` are its pixels.
    mask:             data URI of the mask in the colours of its palette; "" without a mask.
    """

    key: str
    strategy: str
    prompt: str
    source: str
    width: int
    height: int
    mask: str


def make_thumbnail(sample: SampleRef, limit: ThumbnailLimit) -> Thumbnail:
    """Return the thumbnail of a sample. Raises ShardError if it cannot be read."""
    pixels = _shrink(sample.pixels(), limit.side)
    size = limit.size // 2 if sample.has_mask else limit.size
    mask = _data_uri(_shrink(sample.mask_pixels(), limit.side), size) if sample.has_mask else ""
    height, width = pixels.shape[:2]
    prompt: str = sample.row["prompt"]
    if len(prompt) > _PROMPT_LENGTH:
        prompt = prompt[: _PROMPT_LENGTH - 1] + "…"
    strategy = sample.row.get("strategy", "")
    return Thumbnail(sample.row["key"], strategy, prompt, _data_uri(pixels, size), width, height, mask)


def _shrink(pixels: Pixels, side: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return pixels if scale >= 1 else fit_rgb(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _data_uri(pixels: Pixels, size: int) -> str:
    for format, quality in _ENCODINGS:
        data = encode_rgb(pixels, format, quality)
        if len(data) <= size:
            break
    return f"data:image/{format};base64,{base64.b64encode(data).decode()}"
