"""Contact sheets: a few images of each class, spread over the run, as data URIs.

Of a run of any size only so many shards' indexes are read, and only so many images.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from shards.codec import CorruptImage, Pixels, decode_mask, decode_rgb, encode_rgb, fit_rgb
from shards.errors import ShardError
from shards.finished import Place, read_index
from shards.store import Store, open_store

MAX_SIDE = 96
"""Pixels of a thumbnail's longer side; a smaller image stays as it is, and the page enlarges it."""
_MAX_BYTES = 5_000
_MAX_TEXT = 400
_COLUMNS = ["key", "label", "prompt", "image_format", "image_offset", "image_size"]
_MASK_COLUMNS = ["mask_offset", "mask_size", "mask_classes"]

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Picture:
    """One thumbnail.

    source: data URI; width and height: its pixels. prompt: "" for a real image.
    mask:   data URI of the mask in its palette's colours; "" where the image has none.
    """

    key: str
    prompt: str
    source: str
    width: int
    height: int
    mask: str


def spread(items: Sequence[_Item], count: int) -> list[_Item]:
    """At most `count` of the items, evenly over them all and in their order."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def pictures(place: Place, shards_of: Mapping[int, Sequence[str]], count: int) -> dict[int, list[Picture]]:
    """At most `count` images of each label, from at most so many of the shards that are said to hold it.

    Raises ShardError where a shard or its index cannot be read.
    """
    chosen = {label: spread(shards, count) for label, shards in shards_of.items()}
    store = open_store(place)
    rows: dict[int, list[tuple[str, dict[str, Any]]]] = {label: [] for label in chosen}
    for shard in sorted({shard for shards in chosen.values() for shard in shards}):
        table = _read_index(store, shard)
        labels = table["label"].to_numpy()
        for label, shards in chosen.items():
            if shard in shards:
                found = spread(np.flatnonzero(labels == label).tolist(), count)
                rows[label] += [(f"{shard}.tar", row) for row in table.take(found).to_pylist()]
    return {label: [_picture(store, tar, row) for tar, row in spread(found, count)] for label, found in rows.items()}


def _read_index(store: Store, shard: str) -> pa.Table:
    try:
        table = read_index(store, shard)
    except ShardError as error:
        raise ShardError(f"{error}; run verify") from None
    return table.select([*_COLUMNS, *(name for name in _MASK_COLUMNS if name in table.column_names)])


def _picture(store: Store, tar: str, row: Mapping[str, Any]) -> Picture:
    try:
        pixels = _shrink(decode_rgb(_read(store, tar, row, "image")))
        mask = _data_uri(_shrink(_coloured(store, tar, row))) if "mask_classes" in row else ""
    except (OSError, ShardError, CorruptImage) as error:
        raise ShardError(f"{store}/{tar}, sample {row['key']!r}: cannot be read: {error}; run verify") from None
    height, width = pixels.shape[:2]
    prompt: str = row["prompt"]
    if len(prompt) > _MAX_TEXT:
        prompt = prompt[: _MAX_TEXT - 1] + "…"
    return Picture(row["key"], prompt, _data_uri(pixels), width, height, mask)


def _read(store: Store, tar: str, row: Mapping[str, Any], member: str) -> bytes:
    return store.read(tar, row[f"{member}_offset"], row[f"{member}_size"])


def _coloured(store: Store, tar: str, row: Mapping[str, Any]) -> Pixels:
    """The mask in the colours of its palette; an index beyond it is black."""
    colours = np.zeros((256, 3), np.uint8)
    palette = json.loads(row["mask_classes"])
    colours[: len(palette)] = list(palette.values())
    return colours[decode_mask(_read(store, tar, row, "mask"))]


def _shrink(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = MAX_SIDE / max(height, width)
    return pixels if scale >= 1 else fit_rgb(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _data_uri(pixels: Pixels) -> str:
    """Lossless where that is small, and else of a quality that keeps the page within its size."""
    tries = [("png", 0), ("webp", 85), ("webp", 60), ("webp", 30), ("webp", 5)]
    for format, quality in tries:
        data = encode_rgb(pixels, format, quality)
        if len(data) <= _MAX_BYTES:
            break
    return f"data:image/{format};base64,{base64.b64encode(data).decode()}"
