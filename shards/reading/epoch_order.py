"""The order of samples: a function of (seed, number of the epoch or batch) and nothing else."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")


class RandomPurpose(IntEnum):
    """A separate sequence of random numbers for each purpose, for equal seeds and numbers."""

    EPOCH = 1
    BATCH = 2
    SHARD = 3
    DRAW = 4
    TRANSFORM = 5


def random_bits(size: int, purpose: RandomPurpose, seed: int, number: int) -> NDArray[np.uint64]:
    """Return random 64-bit numbers: the raw output of Philox4x64-10, which no version of a library can change.

    Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    # The explicit dtype matters: numpy turns a list with one number above 2**63 into floats.
    key = np.array([seed % 2**64, number], np.uint64)
    return np.random.Philox(key=key, counter=[0, 0, 0, int(purpose)]).random_raw(size)


def permutation(size: int, purpose: RandomPurpose, seed: int, number: int) -> NDArray[np.int64]:
    """Return a random permutation of range(size)."""
    return np.argsort(random_bits(size, purpose, seed, number), kind="stable")


@dataclass(frozen=True)
class EpochSamples:
    """The samples of an epoch."""

    rows: NDArray[np.int64]  # their rows in the index, ascending
    shard: NDArray[np.int32]  # number of each sample's shard; `shards`: how many there are
    shards: int
    weight: NDArray[np.float64] | None = None  # how often each comes in an epoch, on average; None: exactly once

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return len(self.rows) if self.weight is None else round(float(self.weight.sum()))


@dataclass(frozen=True)
class ShardWindow:
    """Shards that are shuffled together. end: the position in the epoch at which the next window begins."""

    shards: tuple[int, ...]
    end: int


class EpochOrder:
    """The order of samples in every epoch. The last two orders are cached, at 8 bytes a sample.

    shuffle: False: the order on disk.
    window:  None: a full shuffle, every order equally likely. Else the shards are shuffled, and then the samples within
             each `window` consecutive shards, so no more than that many shards are needed at a time. Two samples of a
             batch come from the same shard with probability 1/window, in a full shuffle of S shards with 1/S.

    Weighted samples are drawn for each epoch by systematic resampling (Kitagawa, "Monte Carlo Filter and Smoother",
    1996): a sample of weight w comes floor(w) or ceil(w) times, w times on average, after scaling to a whole sum.
    """

    def __init__(self, samples: EpochSamples, seed: int, shuffle: bool, window: int | None) -> None:
        self._samples, self._seed, self._shuffle, self._window = samples, seed, shuffle, window
        self._orders: OrderedDict[int, NDArray[np.int64]] = OrderedDict()
        self._windows: OrderedDict[int, list[ShardWindow]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return len(self._samples)

    def at(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the samples at these positions of the endless sequence of epochs."""
        epochs, places = np.divmod(np.asarray(positions, np.int64), len(self))
        first = int(epochs[0]) if len(epochs) else 0
        if (epochs == first).all():
            return self.epoch(first)[places]
        rows = np.empty(len(places), np.int64)
        for number in np.unique(epochs):
            rows[epochs == number] = self.epoch(int(number))[places[epochs == number]]
        return rows

    def epoch(self, number: int) -> NDArray[np.int64]:
        """Return the rows of one epoch in its order."""
        if not self._shuffle and self._samples.weight is None:
            return self._samples.rows
        return _cached(self._orders, number, self._make_order)

    def windows(self, number: int) -> list[ShardWindow]:
        """Return the windows of one epoch in order."""
        return _cached(self._windows, number, self._make_windows)

    def _make_order(self, number: int) -> NDArray[np.int64]:
        drawn = self._draw(number)
        if not self._shuffle:
            return self._samples.rows[drawn]
        if self._window is None:
            return self._samples.rows[drawn[permutation(len(drawn), RandomPurpose.EPOCH, self._seed, number)]]
        within = random_bits(len(drawn), RandomPurpose.EPOCH, self._seed, number)
        window = self._window_of_shards(number)[self._samples.shard[drawn]]
        return self._samples.rows[drawn[np.lexsort((within, window))]]

    def _make_windows(self, number: int) -> list[ShardWindow]:
        window = self._window_of_shards(number)
        counts = np.bincount(window[self._samples.shard[self._draw(number)]], minlength=int(window.max()) + 1)
        used = np.unique(self._samples.shard)
        return [
            ShardWindow(tuple(used[window[used] == index].tolist()), int(end))
            for index, end in enumerate(np.cumsum(counts).tolist())
        ]

    def _window_of_shards(self, number: int) -> NDArray[np.int64]:
        """Return the number of the window of each shard."""
        count = self._samples.shards
        place = np.arange(count)
        if self._shuffle:
            place = np.argsort(permutation(count, RandomPurpose.SHARD, self._seed, number))
        return place // (self._window or count)

    def _draw(self, number: int) -> NDArray[np.int64]:
        """Return indices into `rows`, each as often as its sample comes in this epoch."""
        weight = self._samples.weight
        if weight is None:
            return np.arange(len(self._samples.rows))
        start = float(random_bits(1, RandomPurpose.DRAW, self._seed, number)[0] / 2.0**64)
        ends = np.cumsum(weight) * (len(self) / weight.sum())
        ends[-1] = len(self)  # removes the rounding error of the sum
        counts = np.diff(np.floor(ends - start).astype(np.int64), prepend=np.floor(-start).astype(np.int64))
        return np.repeat(np.arange(len(counts)), counts)


def _cached(cache: OrderedDict[int, _T], number: int, make: Callable[[int], _T]) -> _T:
    if number not in cache:
        cache[number] = make(number)
        if len(cache) > 2:
            cache.popitem(last=False)
    return cache[number]
