"""Reading samples: by their number in the index, and as a stream of epochs."""

import mmap
from collections.abc import Iterator, Sequence
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
    """

    def __init__(self, folder: str | Path, *, seed: int = 0, shuffle: bool = True, real_only: bool = False) -> None:
        self.index = open_index(Path(folder))
        if real_only and self.index.synthetic.any():
            first = int(np.argmax(self.index.synthetic))
            raise NotReal(
                f"{self.index.tars[self.index.shard[first]]}: sample {self.index.key(first)!r} is synthetic, and this "
                "stream was opened as real only; validation and test must be real"
            )
        self._order = EpochOrder(len(self.index), seed, shuffle)
        self._maps: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.index)

    def read(self, positions: Sequence[int]) -> Batch:
        """Decode the samples at these positions of the endless sequence; all must have the same size.

        Raises ShardError, with file and offset, for a sample that is cut short or cannot be decoded.
        """
        rows = [self._order.at(position) for position in positions]
        images = [self._decode(row) for row in rows]
        shapes = {image.shape for image in images}
        if len(shapes) != 1:
            raise ShardError(f"images of one batch have different sizes: {sorted(shapes)}")
        label, synthetic = self.index.label[rows], self.index.synthetic[rows]
        return Batch(np.stack(images), label, synthetic, tuple(self.index.key(row) for row in rows))

    def batches(self, size: int) -> Iterator[Batch]:
        """One epoch, the first one, in batches of `size`; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.read(range(start, min(start + size, len(self))))

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
        return {**self.__dict__, "_maps": {}}  # a worker process maps the files anew
