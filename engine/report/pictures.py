"""Thumbnails of samples, as data URIs."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.codec import CorruptImage, Pixels, decode_mask, decode_rgb, encode_rgb, fit_rgb
from shards.errors import ShardError
from shards.storage.manifest import read_index
from shards.storage.store import Store

_MAX_TEXT = 300
_COLUMNS = ("key", "label", "strategy", "prompt", "image_offset", "image_size")
_MASK_COLUMNS = ("mask_offset", "mask_size", "mask_classes")

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Form:
    """How large a thumbnail may be. side: pixels of its longer side; a smaller image stays as it is, and the page
    enlarges it. size: bytes, those of a mask included."""

    side: int
    size: int


SHEET, SMALL = Form(96, 5_000), Form(64, 2_500)


@dataclass(frozen=True)
class Picture:
    """One thumbnail.

    strategy, prompt: "" for a real image. source: data URI; width and height: its pixels.
    mask: data URI of the mask in its palette's colours; "" where the image has none.
    """

    key: str
    strategy: str
    prompt: str
    source: str
    width: int
    height: int
    mask: str


@dataclass(frozen=True)
class SampleRef:
    """Where a sample lies: its tar, and the row of its index."""

    store: Store
    tar: str
    row: Mapping[str, Any]


def spread(items: Sequence[_Item], count: int) -> list[_Item]:
    """At most `count` of the items, evenly over them all and in their order."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def index(store: Store, shard: str) -> pa.Table:
    """The columns of a shard's index that thumbnails need. Raises ShardError where it cannot be read."""
    try:
        table = read_index(store, shard)
    except ShardError as error:
        raise ShardError(f"{error}; run verify") from None
    return table.select([name for name in (*_COLUMNS, *_MASK_COLUMNS) if name in table.column_names])


def samples(store: Store, shard: str, table: pa.Table) -> Iterator[SampleRef]:
    """One for each row of a shard's index, or of a part of it."""
    return (SampleRef(store, f"{shard}.tar", row) for row in table.to_pylist())


def find(store: Store, keys: set[str], shards: Iterable[str]) -> dict[str, SampleRef]:
    """The samples of a place with these keys, those that are in one of these shards. Raises ShardError."""
    found: dict[str, SampleRef] = {}
    wanted = pa.array(sorted(keys), pa.string())
    for shard in shards:
        if len(found) == len(keys):
            break
        table = index(store, shard)
        there = table.filter(pc.is_in(table["key"], wanted))
        found |= {sample.row["key"]: sample for sample in samples(store, shard, there)}
    return found


def pixels_of(sample: SampleRef) -> Pixels:
    """The image, uint8 (height, width, 3). Raises ShardError with its place where it cannot be read."""
    try:
        return decode_rgb(_read(sample, "image"))
    except (OSError, ShardError, CorruptImage) as error:
        raise _unreadable(sample, error) from None


def picture(sample: SampleRef, form: Form) -> Picture:
    """The thumbnail of a sample. Raises ShardError."""
    row, masked = sample.row, "mask_classes" in sample.row
    pixels = _shrink(pixels_of(sample), form.side)
    size = form.size // 2 if masked else form.size
    mask = _data_uri(_shrink(_coloured(sample), form.side), size) if masked else ""
    height, width = pixels.shape[:2]
    prompt: str = row["prompt"]
    if len(prompt) > _MAX_TEXT:
        prompt = prompt[: _MAX_TEXT - 1] + "…"
    return Picture(row["key"], row.get("strategy", ""), prompt, _data_uri(pixels, size), width, height, mask)


def _read(sample: SampleRef, member: str) -> bytes:
    return sample.store.read(sample.tar, sample.row[f"{member}_offset"], sample.row[f"{member}_size"])


def _coloured(sample: SampleRef) -> Pixels:
    """The mask in the colours of its palette; an index beyond it is black."""
    colours = np.zeros((256, 3), np.uint8)
    palette = json.loads(sample.row["mask_classes"])
    colours[: len(palette)] = list(palette.values())
    try:
        return colours[decode_mask(_read(sample, "mask"))]
    except (OSError, ShardError, CorruptImage) as error:
        raise _unreadable(sample, error) from None


def _unreadable(sample: SampleRef, error: Exception) -> ShardError:
    return ShardError(f"{sample.store}/{sample.tar}, sample {sample.row['key']!r}: cannot be read: {error}; run verify")


def _shrink(pixels: Pixels, side: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return pixels if scale >= 1 else fit_rgb(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _data_uri(pixels: Pixels, size: int) -> str:
    """Lossless where that is small, and else of a quality that keeps the page within its size."""
    tries = [("png", 0), ("webp", 85), ("webp", 60), ("webp", 30), ("webp", 5)]
    for format, quality in tries:
        data = encode_rgb(pixels, format, quality)
        if len(data) <= size:
            break
    return f"data:image/{format};base64,{base64.b64encode(data).decode()}"
