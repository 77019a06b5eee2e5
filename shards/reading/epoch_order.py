"""The order of samples: a function of (seed, number of the epoch or batch) and nothing else."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Made = TypeVar("Made")


class RandomPurpose(IntEnum):
    """Keeps random numbers of equal seeds and numbers apart."""

    EPOCH = 1
    BATCH = 2
    SHARD = 3
    DRAW = 4
    TRANSFORM = 5


def random_bits(size: int, purpose: RandomPurpose, seed: int, number: int) -> NDArray[np.uint64]:
    """Random 64-bit numbers.

    The raw output of Philox4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011), which is fixed
    by its paper, unlike the methods of a library's generators.
    """
    # In a list of numbers of which one is above 2**63 numpy makes floats of all.
    key = np.array([seed % 2**64, number], np.uint64)
    return np.random.Philox(key=key, counter=[0, 0, 0, int(purpose)]).random_raw(size)


def permutation(size: int, purpose: RandomPurpose, seed: int, number: int) -> NDArray[np.int64]:
    """A permutation of range(size)."""
    return np.argsort(random_bits(size, purpose, seed, number), kind="stable")


@dataclass(frozen=True)
class EpochSamples:
    """What an order is of.

    rows:   numbers of samples in the index, ascending.
    shard:  for each the number of its shard; `shards`: how many there are.
    weight: for each how often it comes in an epoch, on average; None: once, exactly.
    """

    rows: NDArray[np.int64]
    shard: NDArray[np.int32]
    shards: int
    weight: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.rows) if self.weight is None else round(float(self.weight.sum()))


@dataclass(frozen=True)
class ShardWindow:
    """Shards that are shuffled together. end: the place in the epoch at which the next window begins."""

    shards: tuple[int, ...]
    end: int


class EpochOrder:
    """Every epoch's own order of samples; those of the last two epochs are kept, at 8 bytes a sample.

    shuffle: False: as on disk.
    window:  None: a full shuffle, every order equally likely. Else the shards are shuffled, and the samples within each
             `window` shards that then follow one another: no more than that many shards are needed at a time. Two
             samples of a batch come from the same shard with probability 1/window, where a full shuffle of S shards
             has 1/S.

    Weighted samples are drawn anew for each epoch by systematic resampling (Kitagawa, "Monte Carlo Filter and
    Smoother", 1996): one of weight w comes floor(w) or ceil(w) times, w times on average. Weights are scaled
    first, so that they add up to a whole number.
    """

    def __init__(self, samples: EpochSamples, seed: int, shuffle: bool, window: int | None) -> None:
        self._samples, self._seed, self._shuffle, self._window = samples, seed, shuffle, window
        self._orders: OrderedDict[int, NDArray[np.int64]] = OrderedDict()
        self._windows: OrderedDict[int, list[ShardWindow]] = OrderedDict()

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self._samples)

    def at(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples at these positions of the endless sequence of epochs."""
        epochs, places = np.divmod(np.asarray(positions, np.int64), len(self))
        first = int(epochs[0]) if len(epochs) else 0
        if (epochs == first).all():
            return self.epoch(first)[places]
        found = np.empty(len(places), np.int64)
        for number in np.unique(epochs):
            found[epochs == number] = self.epoch(int(number))[places[epochs == number]]
        return found

    def epoch(self, number: int) -> NDArray[np.int64]:
        """All samples of one epoch, in its order."""
        if not self._shuffle and self._samples.weight is None:
            return self._samples.rows
        return _kept(self._orders, number, self._made)

    def windows(self, number: int) -> list[ShardWindow]:
        """The windows of one epoch, in order."""
        return _kept(self._windows, number, self._made_windows)

    def _made(self, number: int) -> NDArray[np.int64]:
        chosen = self._drawn(number)
        if not self._shuffle:
            return self._samples.rows[chosen]
        if self._window is None:
            return self._samples.rows[chosen[permutation(len(chosen), RandomPurpose.EPOCH, self._seed, number)]]
        within = random_bits(len(chosen), RandomPurpose.EPOCH, self._seed, number)
        return self._samples.rows[chosen[np.lexsort((within, self._blocks(number)[self._samples.shard[chosen]]))]]

    def _made_windows(self, number: int) -> list[ShardWindow]:
        blocks = self._blocks(number)
        ends = np.cumsum(np.bincount(blocks[self._samples.shard[self._drawn(number)]], minlength=int(blocks.max()) + 1))
        used = np.unique(self._samples.shard)
        return [
            ShardWindow(tuple(used[blocks[used] == block].tolist()), int(end)) for block, end in enumerate(ends.tolist())
        ]

    def _blocks(self, number: int) -> NDArray[np.int64]:
        """For each shard the number of its window."""
        count = self._samples.shards
        place = np.argsort(permutation(count, RandomPurpose.SHARD, self._seed, number)) if self._shuffle else np.arange(count)
        return place // (self._window or count)

    def _drawn(self, number: int) -> NDArray[np.int64]:
        """Places in `rows`, as often as they come in this epoch."""
        weight = self._samples.weight
        if weight is None:
            return np.arange(len(self._samples.rows))
        start = float(random_bits(1, RandomPurpose.DRAW, self._seed, number)[0] / 2.0**64)
        ends = np.cumsum(weight) * (len(self) / weight.sum())
        ends[-1] = len(self)
        counts = np.diff(np.floor(ends - start).astype(np.int64), prepend=np.floor(-start).astype(np.int64))
        return np.repeat(np.arange(len(counts)), counts)


def _kept(kept: OrderedDict[int, Made], number: int, make: Callable[[int], Made]) -> Made:
    if number not in kept:
        kept[number] = make(number)
        if len(kept) > 2:
            kept.popitem(last=False)
    return kept[number]
