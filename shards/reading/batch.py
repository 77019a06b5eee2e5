"""Samples, decoded: batches put together from one stream or from several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import Pixels
from shards.errors import ShardError
from shards.reading.decoder import Decoder

if TYPE_CHECKING:
    from shards.reading.shard_stream import ShardStream


@dataclass(frozen=True)
class Batch:
    """Samples, decoded.

    image:     uint8 (batch, height, width, 3).
    label:     int64 (batch,); -1 where the shards tell none.
    synthetic: bool (batch,).
    key:       one str each.
    source:    int64 (batch,), which stream of a mix each came from; 0 for a stream alone.
    mask:      uint8 (batch, height, width) of class indices, if the stream was opened with mask=True.
    fields:    for each of the stream's `fields` a list of one value a sample; None where a sample lacks it.
    """

    image: Pixels
    label: NDArray[np.int64]
    synthetic: NDArray[np.bool_]
    key: tuple[str, ...]
    source: NDArray[np.int64]
    mask: NDArray[np.uint8] | None = None
    fields: Mapping[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, part: slice) -> "Batch":
        """Some of the samples."""
        return Batch(
            self.image[part],
            self.label[part],
            self.synthetic[part],
            self.key[part],
            self.source[part],
            None if self.mask is None else self.mask[part],
            {name: values[part] for name, values in self.fields.items()},
        )


@dataclass(frozen=True)
class Item:
    """One sample: as a batch has them, without the batch dimension."""

    image: Pixels
    label: int
    synthetic: bool
    key: str
    mask: NDArray[np.uint8] | None
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class BatchPart:
    """What one stream gives to a batch. rows: of its index. places: where they stand in the batch."""

    stream: "ShardStream"
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    source: int


def gather(parts: Sequence[BatchPart], decoder: Decoder) -> Batch:
    """Read and decode the samples of all parts into one batch."""
    count = sum(len(part.rows) for part in parts)
    rows, owner = np.empty(count, np.int64), np.empty(count, np.int64)
    for number, part in enumerate(parts):
        rows[part.places], owner[part.places] = part.rows, number
    image, failures = decoder.images(_spread(parts, [part.stream.encoded(part.rows) for part in parts]))
    if failures:
        for place, reason in failures:
            rows[place] = parts[owner[place]].stream.replacement(int(rows[place]), reason)
        parts = [replace(part, rows=rows[part.places]) for part in parts]
        image, _ = decoder.images(_spread(parts, [part.stream.encoded(part.rows) for part in parts]))
    label, source = np.empty(count, np.int64), np.empty(count, np.int64)
    synthetic = np.empty(count, np.bool_)
    for part in parts:
        label[part.places], synthetic[part.places] = part.stream.label[part.rows], part.stream.synthetic[part.rows]
        source[part.places] = part.source
    key = tuple(_spread(parts, [part.stream.index.keys.take(part.rows).to_pylist() for part in parts]))
    mask = _masks(parts, decoder, image.shape[1:3]) if parts[0].stream.masked else None
    names = dict.fromkeys(name for part in parts for name in part.stream.fields)
    fields = {name: _spread(parts, [part.stream.values(part.rows, name) for part in parts]) for name in names}
    return Batch(image, label, synthetic, key, source, mask, fields)


def _masks(parts: Sequence[BatchPart], decoder: Decoder, shape: tuple[int, int]) -> NDArray[np.uint8]:
    mask, failures = decoder.masks(_spread(parts, [part.stream.encoded(part.rows, "mask") for part in parts]), shape)
    for place, reason in failures:
        part = next(part for part in parts if place in part.places)
        row = int(part.rows[part.places.tolist().index(place)])
        raise ShardError(f"{part.stream.place(row)}: its mask cannot be read: {reason}; run verify")
    return mask


def _spread(parts: Sequence[BatchPart], found: Sequence[Sequence[Any]]) -> list[Any]:
    """What the parts have, each at its place in the batch."""
    if len(parts) == 1:
        return list(found[0])  # its places are all places, in order
    spread: list[Any] = [None] * sum(len(part.rows) for part in parts)
    for part, values in zip(parts, found, strict=True):
        for place, value in zip(part.places.tolist(), values, strict=True):
            spread[place] = value
    return spread
