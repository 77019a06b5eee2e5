"""Mixing real and synthetic samples so that the synthetic fraction is alpha, exactly."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.order import Purpose, shuffled
from shards.reader import Batch, ShardStream


class MixedStream:
    """An endless sequence of global batches with a fixed synthetic fraction.

    real, synthetic: streams; each is read in its own order and starts again when it runs out. One may be None where
                     alpha does not need it.
    alpha:           synthetic fraction, 0 to 1. After any number of batches the number of synthetic samples is alpha
                     times all, rounded to the nearest whole number: what one batch rounds off, the next one gets.
    batch_size:      of the global batch, over all ranks.
    rank, world_size: this reader's share, `batch_size / world_size` of every global batch. All ranks see the same
                     sequence of global batches, for any world size that divides batch_size.

    Everything follows from (seed, number of the batch), so the state is that number.
    """

    def __init__(
        self,
        real: ShardStream | None,
        synthetic: ShardStream | None,
        alpha: float,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        # From its text, so that 0.1 is a tenth, and not the binary number beside it.
        self.alpha = Fraction(str(alpha))
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha {alpha} must be from 0 to 1")
        if batch_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} cannot have an equal part of a batch of {batch_size}")
        if (real is None and self.alpha < 1) or (synthetic is None and self.alpha > 0):
            raise ValueError(f"alpha {alpha} needs a {'real' if real is None else 'synthetic'} stream")
        self._sources = (real, synthetic)
        self.batch_size, self._seed = batch_size, seed
        self._rank, self._world_size = rank, world_size
        self._next = 0

    def synthetic_before(self, batch: int) -> int:
        """Synthetic samples in all global batches before number `batch`."""
        return int(self.alpha * self.batch_size * batch + Fraction(1, 2))

    def is_synthetic(self, batch: int) -> NDArray[np.bool_]:
        """For each place of a global batch, whether it is synthetic; the places are shuffled."""
        count = self.synthetic_before(batch + 1) - self.synthetic_before(batch)
        return shuffled(self.batch_size, Purpose.BATCH, self._seed, batch) < count

    def batch(self, number: int) -> Batch:
        """This rank's part of global batch `number`: its places in order, each read from its source."""
        synthetic = self.is_synthetic(number)
        before = self.synthetic_before(number)
        starts = (number * self.batch_size - before, before)
        # Place p holds the next unread sample of its source: as many as places before p have the same source.
        nth = np.where(synthetic, np.cumsum(synthetic) - 1, np.cumsum(~synthetic) - 1)
        mine = range(self._rank, self.batch_size, self._world_size)
        parts: list[tuple[list[int], Batch]] = []
        for kind, source in enumerate(self._sources):
            places = [i for i, place in enumerate(mine) if synthetic[place] == bool(kind)]
            if places and source is not None:
                parts.append((places, source.read([starts[kind] + int(nth[mine[i]]) for i in places])))
        return _interleave(parts)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the present one on, without end."""
        while True:
            batch = self.batch(self._next)
            self._next += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: small, JSON-able, and valid for another world size."""
        return {"batch": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._next = int(state["batch"])


def _interleave(parts: list[tuple[list[int], Batch]]) -> Batch:
    if len(parts) == 1:
        return parts[0][1]  # its places are all places, in order
    order = np.argsort([place for places, _ in parts for place in places])
    keys = [key for _, batch in parts for key in batch.key]
    shapes = {batch.image.shape[1:] for _, batch in parts}
    if len(shapes) != 1:
        raise ValueError(f"real and synthetic images have different sizes: {sorted(shapes)}")
    return Batch(
        np.concatenate([batch.image for _, batch in parts])[order],
        np.concatenate([batch.label for _, batch in parts])[order],
        np.concatenate([batch.synthetic for _, batch in parts])[order],
        tuple(keys[i] for i in order),
    )
