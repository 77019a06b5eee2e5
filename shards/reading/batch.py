"""Decoded samples: batches, put together from one reader or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import Pixels
from shards.errors import ShardError
from shards.reading.decoder import Decoder
from shards.reading.sample_reader import SampleReader


@dataclass(frozen=True)
class Batch:
    """Decoded samples.

    image:     uint8 (batch, height, width, 3).
    label:     int64 (batch,); -1 if the shards have no labels.
    synthetic: bool (batch,).
    key:       one str each.
    source:    int64 (batch,), the number of the stream in a mix; 0 for a single stream.
    mask:      uint8 (batch, height, width) of class indices, if the stream was opened with mask=True.
    fields:    for each of the stream's `fields` a list with one value per sample; None where a sample lacks it.
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
        """Return some of the samples."""
        arrays = self.image[part], self.label[part], self.synthetic[part], self.key[part], self.source[part]
        mask = None if self.mask is None else self.mask[part]
        return Batch(*arrays, mask, {name: values[part] for name, values in self.fields.items()})


@dataclass(frozen=True)
class Item:
    """One sample, with the values of a Batch but without its batch dimension."""

    image: Pixels
    label: int
    synthetic: bool
    key: str
    mask: NDArray[np.uint8] | None
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class BatchPart:
    """The samples that one reader gives to a batch. rows: in its index. positions: in the batch. source: see Batch."""

    reader: SampleReader
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    source: int


def gather(parts: Sequence[BatchPart], decoder: Decoder) -> Batch:
    """Read and decode the samples of all parts into one batch."""
    image, failures = _images(parts, decoder)
    if failures:
        parts = _replace_failed(parts, failures)
        image, _ = _images(parts, decoder)
    count = len(image)
    label, source = np.empty(count, np.int64), np.empty(count, np.int64)
    synthetic = np.empty(count, np.bool_)
    for part in parts:
        label[part.positions] = part.reader.label[part.rows]
        synthetic[part.positions] = part.reader.synthetic[part.rows]
        source[part.positions] = part.source
    key = tuple(_scatter(parts, [part.reader.keys(part.rows) for part in parts]))
    mask = _masks(parts, decoder, image.shape[1:3]) if parts[0].reader.has_masks else None
    names = dict.fromkeys(name for part in parts for name in part.reader.fields)
    fields = {name: _scatter(parts, [part.reader.values(part.rows, name) for part in parts]) for name in names}
    return Batch(image, label, synthetic, key, source, mask, fields)


def _images(parts: Sequence[BatchPart], decoder: Decoder) -> tuple[Pixels, list[tuple[int, str]]]:
    return decoder.images(_scatter(parts, [part.reader.encoded(part.rows) for part in parts]))


def _replace_failed(parts: Sequence[BatchPart], failures: Sequence[tuple[int, str]]) -> list[BatchPart]:
    """Return the parts with another sample in place of each that cannot be decoded."""
    reasons = dict(failures)
    replaced = []
    for part in parts:
        rows = part.rows.copy()
        for i, position in enumerate(part.positions.tolist()):
            if position in reasons:
                rows[i] = part.reader.replacement(int(rows[i]), reasons[position])
        replaced.append(replace(part, rows=rows))
    return replaced


def _masks(parts: Sequence[BatchPart], decoder: Decoder, shape: tuple[int, int]) -> NDArray[np.uint8]:
    mask, failures = decoder.masks(_scatter(parts, [part.reader.encoded(part.rows, "mask") for part in parts]), shape)
    for position, reason in failures:
        part = next(part for part in parts if position in part.positions)
        row = int(part.rows[part.positions.tolist().index(position)])
        raise ShardError(f"{part.reader.locate(row)}: its mask cannot be read: {reason}; run verify")
    return mask


def _scatter(parts: Sequence[BatchPart], values_of_parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the values of all parts, each at its position in the batch."""
    if len(parts) == 1:
        return list(values_of_parts[0])  # a single part has all positions, in order
    scattered: list[Any] = [None] * sum(len(part.rows) for part in parts)
    for part, values in zip(parts, values_of_parts, strict=True):
        for position, value in zip(part.positions.tolist(), values, strict=True):
            scattered[position] = value
    return scattered
