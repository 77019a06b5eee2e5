"""Reading samples: by their number in the index, and as a stream of epochs."""

import mmap
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import CorruptImage, Pixels, decode_rgb
from shards.errors import NotReal, ShardError
from shards.index import open_index
from shards.order import EpochOrder


@dataclass(frozen=True)
class Batch:
    """Samples, decoded.

    image: uint8 (batch, height, width, 3). label: int64 (batch,). synthetic: bool (batch,). key: one str each.
    """

    image: Pixels
    label: NDArray[np.int64]
    synthetic: NDArray[np.bool_]
    key: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)


class ShardStream:
    """The finished shards of a folder, as an endless sequence of samples, epoch after epoch.

    real_only: raise NotReal if any sample is synthetic. A validation or test stream is opened so.
    seed, shuffle: the order of epoch e follows from (seed, e); without shuffle it is the order on disk.
    threads: decoding threads. Decoders release the GIL, so threads of one process beat worker processes.
    """

    def __init__(
        self, folder: str | Path, *, seed: int = 0, shuffle: bool = True, real_only: bool = False, threads: int = 1
    ) -> None:
        self.index = open_index(Path(folder))
        if real_only and self.index.synthetic.any():
            first = int(np.argmax(self.index.synthetic))
            raise NotReal(
                f"{self.index.tars[self.index.shard[first]]}: sample {self.index.key(first)!r} is synthetic, and this "
                "stream was opened as real only; validation and test must be real"
            )
        self._order = EpochOrder(len(self.index), seed, shuffle)
        self._threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._maps: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.index)

    def read(self, positions: Sequence[int]) -> Batch:
        """Decode the samples at these positions of the endless sequence; all must have the same size.

        Raises ShardError, with file and offset, for a sample that is cut short or cannot be decoded.
        """
        rows = [self._order.at(position) for position in positions]
        images = self._decode_all(rows)
        label, synthetic = self.index.label[rows], self.index.synthetic[rows]
        return Batch(images, label, synthetic, tuple(self.index.keys.take(rows).to_pylist()))

    def batches(self, size: int) -> Iterator[Batch]:
        """One epoch, the first one, in batches of `size`; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.read(range(start, min(start + size, len(self))))

    def _decode_all(self, rows: Sequence[int]) -> Pixels:
        first = self._decode(rows[0])
        batch = np.empty((len(rows), *first.shape), np.uint8)
        batch[0] = first

        def decode_into(part: range) -> None:
            for place in part:
                image = self._decode(rows[place])
                if image.shape != first.shape:
                    raise ShardError(f"images of one batch have different sizes: {[first.shape, image.shape]}")
                batch[place] = image

        # One stretch of the batch a thread: a task for each image would cost more than a small image's decoding.
        parts = [range(1 + n, len(rows), self._threads) for n in range(self._threads)]
        if self._threads == 1:
            decode_into(parts[0])
        else:
            if self._pool is None or self._pool[0] != os.getpid():  # threads do not live on in a forked worker
                self._pool = os.getpid(), ThreadPoolExecutor(self._threads)
            list(self._pool[1].map(decode_into, parts))
        return batch

    def _decode(self, row: int) -> Pixels:
        index = self.index
        shard, offset, size = int(index.shard[row]), int(index.offset[row]), int(index.size[row])
        data = self._map(shard)[offset : offset + size]
        place = f"{index.tars[shard]}, sample {index.key(row)!r} at byte {offset}"
        if len(data) < size:
            raise ShardError(f"{place}: the file ends {size - len(data)} bytes early; run verify")
        try:
            return decode_rgb(data)
        except CorruptImage as error:
            raise ShardError(f"{place}: {error}; run verify") from None

    def _map(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            try:
                with self.index.tars[shard].open("rb") as file:
                    self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise ShardError(f"{self.index.tars[shard]}: cannot be read: {error}; run verify") from None
        return self._maps[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}, "_pool": None}  # a worker process has its own
