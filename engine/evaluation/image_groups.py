"""Encoded images of a run: synthetic ones by class and prompt strategy, and real ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.splits import Splits
from engine.errors import SpecError
from engine.evaluation.encoders import Encoder
from engine.evaluation.neighbours import Progress, thumbnails
from engine.run.run import Run
from shards import ShardStream
from shards.codec import CorruptImage, Pixels, decode_rgb
from shards.storage.manifest import finished_shards, read_rows
from shards.storage.store import Store

_BATCH = 256


@dataclass(frozen=True)
class GroupFeatures:
    """Encoded images. small: thumbnails, float32 (images, 192). features, scores: see `EncodedImages`."""

    key: NDArray[np.str_]
    label: NDArray[np.int64]
    small: NDArray[np.float32]
    features: NDArray[np.float64]
    scores: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "GroupFeatures":
        """Return some of the images."""
        scores = None if self.scores is None else self.scores[rows]
        return GroupFeatures(self.key[rows], self.label[rows], self.small[rows], self.features[rows], scores)


def reference_split(splits: Splits) -> str:
    """Return the split that synthetic images are compared with: validation if it has images, else train."""
    split = next((split for split in ("validation", "train") if splits[split]), None)
    if split is None:
        raise SpecError("data.splits: no image falls into validation or train; give one of them a larger share")
    return split


def open_shards(folder: Store, *, real: bool) -> ShardStream:
    """Open the samples of finished shards in their order. Raises SpecError if there is none."""
    if not finished_shards(folder):
        raise SpecError(f"{folder}: no finished shard to measure; run generate first")
    return ShardStream(folder.url, shuffle=False, real_only=real)


def strategies_of(run: Run, stream: ShardStream) -> NDArray[np.str_]:
    """Return the prompt strategy of each synthetic sample, in the order of the stream."""
    strategies = {row["key"]: row["strategy"] for row in read_rows(run.shards, ["key", "strategy"])}
    return np.array([strategies[key] for key in stream.index.keys.to_pylist()])


def encode_samples(
    stream: ShardStream, rows: NDArray[np.int64], encoder: Encoder, progress: Progress, text: str
) -> GroupFeatures:
    """Encode the samples at these positions of a stream; there must be at least one."""
    batches: list[tuple[Any, ...]] = []
    for start in progress(range(0, len(rows), encoder.batch), len(rows), text):
        batch = stream.read(rows[start : start + encoder.batch])
        encoded = encoder.encode(batch.image)
        batches.append((batch.key, batch.label, thumbnails(batch.image), encoded.features, encoded.scores))
    columns: list[Any] = [
        None if column[0] is None else np.concatenate(column) for column in zip(*batches, strict=True)
    ]
    return GroupFeatures(*columns)


def read_thumbnails(stream: ShardStream, progress: Progress, text: str) -> tuple[list[str], NDArray[np.float32]]:
    """Return the keys and thumbnails of all samples, of any sizes, in the order of the index. Raises ShardError."""
    batches = []
    for start in progress(range(0, len(stream), _BATCH), len(stream), text):
        rows = stream.rows[start : start + _BATCH]
        images = [_decoded(stream, row, data) for row, data in zip(rows, stream.reader.encoded(rows), strict=True)]
        batches.append(thumbnails(images))
    return stream.index.keys.take(stream.rows).to_pylist(), np.concatenate(batches)


def _decoded(stream: ShardStream, row: int, data: Pixels) -> Pixels:
    try:
        return decode_rgb(data)
    except CorruptImage as error:
        return decode_rgb(stream.reader.encoded(np.array([stream.reader.replacement(int(row), str(error))]))[0])
