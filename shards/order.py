"""The order of samples: a function of (seed, number of the epoch or batch) and nothing else."""

from collections import OrderedDict
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """Keeps shuffles of equal seeds and numbers apart."""

    EPOCH = 1
    BATCH = 2


def shuffled(size: int, purpose: Purpose, seed: int, number: int) -> NDArray[np.int64]:
    """A permutation of range(size).

    Sorted by the raw output of Philox4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011),
    which is fixed by its paper, unlike the methods of a library's generators.
    """
    bits = np.random.Philox(key=[seed, number], counter=[0, 0, 0, int(purpose)])
    return np.argsort(bits.random_raw(size), kind="stable")


class EpochOrder:
    """A full shuffle of range(size) for every epoch; the last two epochs' orders are kept."""

    def __init__(self, size: int, seed: int, shuffle: bool) -> None:
        self._size, self._seed, self._shuffle = size, seed, shuffle
        self._orders: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def at(self, position: int) -> int:
        """The sample at `position` of the endless sequence of epochs."""
        epoch, place = divmod(position, self._size)
        if not self._shuffle:
            return place
        if epoch not in self._orders:
            self._orders[epoch] = shuffled(self._size, Purpose.EPOCH, self._seed, epoch)
            if len(self._orders) > 2:
                self._orders.popitem(last=False)
        return int(self._orders[epoch][place])
