"""Stored samples by their place in a shard, their pixels, and thumbnails as data URIs."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.codec import CorruptImage, Pixels, decode_mask, decode_rgb, encode_rgb, fit_rgb
from shards.errors import ShardError
from shards.storage.manifest import read_index
from shards.storage.store import Store

_COLUMNS = ("key", "label", "strategy", "prompt", "image_offset", "image_size")
_MASK_COLUMNS = ("mask_offset", "mask_size", "mask_classes")


_PROMPT_LENGTH = 300
_ENCODINGS = (("png", 0), ("webp", 85), ("webp", 60), ("webp", 30), ("webp", 5))
"""Formats and qualities that are tried in this order until the data are small enough; PNG is lossless."""


@dataclass(frozen=True)
class SampleRef:
    """The place of a sample: its tar, and its row of the shard's index."""

    store: Store
    tar: str
    row: Mapping[str, Any]

    @property
    def has_mask(self) -> bool:
        """Return whether a mask is stored beside the image."""
        return "mask_classes" in self.row

    def pixels(self) -> Pixels:
        """Return the image, uint8 (height, width, 3). Raises ShardError if it cannot be read."""
        return self._decode("image", decode_rgb)

    def mask_pixels(self) -> Pixels:
        """Return the mask in the colours of its palette; an index outside the palette is black. Raises ShardError."""
        colours = np.zeros((256, 3), np.uint8)
        palette = json.loads(self.row["mask_classes"])
        colours[: len(palette)] = list(palette.values())
        return colours[self._decode("mask", decode_mask)]

    def _decode(self, member: str, decode: Callable[[bytes], Pixels]) -> Pixels:
        try:
            return decode(self.store.read(self.tar, self.row[f"{member}_offset"], self.row[f"{member}_size"]))
        except (OSError, ShardError, CorruptImage) as error:
            place = f"{self.store}/{self.tar}, sample {self.row['key']!r}"
            raise ShardError(f"{place}: cannot be read: {error}; run verify") from None


def read_sample_table(store: Store, shard: str) -> pa.Table:
    """Return the columns of a shard's index that `SampleRef` needs. Raises ShardError if it cannot be read."""
    try:
        table = read_index(store, shard)
    except ShardError as error:
        raise ShardError(f"{error}; run verify") from None
    return table.select([name for name in (*_COLUMNS, *_MASK_COLUMNS) if name in table.column_names])


def sample_refs(store: Store, shard: str, table: pa.Table) -> Iterator[SampleRef]:
    """Yield a reference for each row of a shard's index, or of a part of it."""
    return (SampleRef(store, f"{shard}.tar", row) for row in table.to_pylist())


def find_samples(store: Store, keys: set[str], shards: Iterable[str]) -> dict[str, SampleRef]:
    """Return the samples of these shards that have one of the keys, by key. Raises ShardError."""
    samples: dict[str, SampleRef] = {}
    wanted = pa.array(sorted(keys), pa.string())
    for shard in shards:
        if len(samples) == len(keys):
            break
        table = read_sample_table(store, shard)
        matching = table.filter(pc.is_in(table["key"], wanted))
        samples |= {sample.row["key"]: sample for sample in sample_refs(store, shard, matching)}
    return samples


@dataclass(frozen=True)
class ThumbnailLimit:
    """The longest side in pixels, and the bytes, including those of a mask. The last encoding may exceed them."""

    side: int
    size: int


LARGE, SMALL = ThumbnailLimit(96, 5_000), ThumbnailLimit(64, 2_500)


@dataclass(frozen=True)
class Thumbnail:
    """A sample's small image and mask ("" without one) as data URIs. strategy, prompt: "" for a real image."""

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
