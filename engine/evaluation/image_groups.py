"""The images of a run, by class and prompt strategy, and the real ones beside them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data import Splits
from engine.errors import SpecError
from engine.evaluation.encoders import Encoder
from engine.evaluation.measure_progress import Progress
from engine.evaluation.neighbours import thumbnails
from engine.run.run import Run
from shards import ShardStream
from shards.codec import CorruptImage, Pixels, decode_rgb
from shards.storage.manifest import finished_shards, read_rows
from shards.storage.store import Store

_BATCH = 256


@dataclass(frozen=True)
class GroupFeatures:
    """Images that were looked at.

    key:      one str each. label: int64 (images,).
    small:    thumbnails, float32 (images, 192).
    features: float64 (images, dimensions). scores: float64 (images, classes), or None. See `encoder.Seen`.
    """

    key: NDArray[np.str_]
    label: NDArray[np.int64]
    small: NDArray[np.float32]
    features: NDArray[np.float64]
    scores: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "GroupFeatures":
        """Some of them."""
        scores = None if self.scores is None else self.scores[rows]
        return GroupFeatures(self.key[rows], self.label[rows], self.small[rows], self.features[rows], scores)


def reference(splits: Splits) -> str:
    """The split that synthetic images are compared with: validation where it has images, else train."""
    found = next((split for split in ("validation", "train") if splits[split]), None)
    if found is None:
        raise SpecError("data.splits: no image falls into validation or train; give one of them a larger share")
    return found


def open_shards(place: Store, *, real: bool) -> ShardStream:
    """The samples of finished shards in their order. Raises SpecError where there is none."""
    if not finished_shards(place):
        raise SpecError(f"{place}: no finished shard to measure; run generate first")
    return ShardStream(place.url, shuffle=False, real_only=real)


def strategies(run: Run, stream: ShardStream) -> NDArray[np.str_]:
    """The prompt strategy of each synthetic sample, in the order of the stream."""
    told = {row["key"]: row["strategy"] for row in read_rows(run.shards, ["key", "strategy"])}
    return np.array([told[key] for key in stream.index.keys.to_pylist()])


def look(
    stream: ShardStream, rows: NDArray[np.int64], encoder: Encoder, progress: Progress, text: str
) -> GroupFeatures:
    """Look at the samples at these positions of a stream, one at least."""
    parts = []
    for start in progress(range(0, len(rows), encoder.batch), len(rows), text):
        batch = stream.read(rows[start : start + encoder.batch])
        seen = encoder.see(batch.image)
        parts.append((batch.key, batch.label, thumbnails(batch.image), seen.features, seen.scores))
    key, label, small, features, scores = zip(*parts, strict=True)
    return GroupFeatures(
        np.concatenate(key),
        np.concatenate(label),
        np.concatenate(small),
        np.concatenate(features),
        None if scores[0] is None else np.concatenate(scores),
    )


def small_ones(stream: ShardStream, progress: Progress, text: str) -> tuple[list[str], NDArray[np.float32]]:
    """Keys and thumbnails of all samples of a stream, of whatever sizes, in the order of its index.

    Raises ShardError for one that cannot be decoded.
    """
    parts = []
    for start in progress(range(0, len(stream), _BATCH), len(stream), text):
        rows = stream.rows[start : start + _BATCH]
        parts.append(thumbnails([_decoded(stream, *one) for one in zip(rows, stream.encoded(rows), strict=True)]))
    return stream.index.keys.take(stream.rows).to_pylist(), np.concatenate(parts)


def _decoded(stream: ShardStream, row: int, data: Pixels) -> Pixels:
    try:
        return decode_rgb(data)
    except CorruptImage as error:
        return decode_rgb(stream.encoded(np.array([stream.replacement(int(row), str(error))]))[0])
