"""A stream of batches in which the synthetic fraction is exactly alpha."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shards.errors import NotReal, ShardError
from shards.mixing.error_diffusion import SourceExhausted
from shards.mixing.mixture import Alpha, ClassWeights, Mixture, Source, Sources, as_sources
from shards.mixing.schedule import Constant
from shards.reading.batch import Batch, BatchPart, gather
from shards.reading.class_map import check_same_classes
from shards.reading.decoder import Decoder
from shards.reading.epoch_order import RandomPurpose, permutation
from shards.reading.shard_stream import ShardStream


class MixedStream:
    """A sequence of global batches, of which each rank reads its part. It ends only if a source does not repeat.

    real, synthetic: a stream, or several with weights. Each is read in its own order, without gaps.
    alpha: synthetic fraction, 0 to 1: a number; a schedule over batches, like `Linear(1.0, 0.0, over=5000)`; or a
        number for each class by name or label, "*" for all others. After any number of batches the count of synthetic
        samples is alpha times all samples, rounded: the next batch makes up for what one batch rounds off. None: the
        weights alone decide.
    class_weights: with an alpha for each class, the relative frequency of classes. Default: every real sample comes
        equally often, and synthetic samples are added to them.
    batch_size: of the global batch, over all ranks.
    rank, world_size: this reader's part, `batch_size / world_size` samples of every global batch. The global batches
        are the same for every rank and for any world size that divides batch_size.

    A batch is determined by (seed, batch number), so the state is that number. `Batch.source` numbers `sources`.
    """

    def __init__(
        self,
        real: Sources,
        synthetic: Sources = None,
        alpha: Alpha = None,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        class_weights: ClassWeights = None,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(f"batch_size={batch_size} must be a positive multiple of world_size={world_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} must be from 0 to {world_size - 1}: world_size={world_size}")
        sides = as_sources(real), as_sources(synthetic)
        self.sources = tuple(source.stream for side in sides for source in side)
        self.batch_size, self.alpha, self._class_weights = batch_size, alpha, class_weights
        self.seed, self.rank, self.world_size = seed, rank, world_size
        if alpha is not None:
            _check_origin(sides[0], synthetic=False)
            _check_origin(sides[1], synthetic=True)
        _check_compatible(self.sources)
        self._mixture = Mixture(sides, alpha, class_weights)
        self.decoder = Decoder(max(stream.decoder.threads for stream in self.sources), self.sources[0].decoder.size)
        self._next = self._allocated = 0
        self._exhausted = False
        # The samples that each cursor draws before the last allocated batch, and those that it draws for it.
        self._last_allocation = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def batch(self, number: int) -> Batch:
        """Return this rank's part of global batch `number`. Raise IndexError after the end of the mix."""
        return gather(self.parts(number), self.decoder)

    def parts(self, number: int) -> list[BatchPart]:
        """Return the rows of each stream in this rank's part of global batch `number`, before anything is read."""
        if not self.has_batch(number):
            raise IndexError(f"the mix has {self._allocated} batches: a source ended that does not repeat")
        starts, counts = self._last_allocation
        cursors = np.repeat(np.arange(len(counts)), counts)
        cursors = cursors[permutation(self.batch_size, RandomPurpose.BATCH, self.seed, number)]
        # Each position takes the next sample of its cursor; `offset` is the number of earlier positions of that cursor.
        grouped = np.argsort(cursors, kind="stable")
        offset = np.empty(self.batch_size, np.int64)
        offset[grouped] = np.arange(self.batch_size) - np.repeat(np.cumsum(counts) - counts, counts)
        own = np.arange(self.rank, self.batch_size, self.world_size)
        cursors, positions = cursors[own], offset[own] + starts[cursors[own]]
        rows, sources = np.empty(len(own), np.int64), np.empty(len(own), np.int64)
        for cursor_number in np.unique(cursors).tolist():
            cursor, mask = self._mixture.cursors[cursor_number], cursors == cursor_number
            rows[mask], sources[mask] = cursor.rows(positions[mask]), cursor.number
        return [
            BatchPart(stream.reader, rows[indices], indices, source)
            for source, stream in enumerate(self.sources)
            if len(indices := np.flatnonzero(sources == source))
        ]

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the current position on."""
        while self.has_batch(self._next):
            batch = self.batch(self._next)
            self._next += 1
            yield batch

    def batches_per_epoch(self, fixed: Literal["real", "total"] = "real") -> int:
        """Return the number of batches in an epoch at a constant alpha.

        fixed: "real": every real sample once, plus synthetic ones. "total": as many samples as there are real ones.
        """
        real_streams = [stream for stream in self.sources if not stream.synthetic[stream.rows].any()]
        count = sum(len(stream) for stream in real_streams)
        if self.alpha is None and len(real_streams) < len(self.sources):
            raise ValueError("without alpha an epoch of real samples is undefined: set the number of batches yourself")
        if isinstance(self.alpha, int | float) and fixed == "real":
            real_fraction = 1 - Constant(self.alpha).at(0)
        elif fixed == "total" or self.alpha is None:
            real_fraction = Fraction(1)
        else:
            raise ValueError("with a changing alpha an epoch is undefined: set the number of batches yourself")
        if not count or not real_fraction:
            raise ValueError("without real samples an epoch is undefined: set the number of batches yourself")
        return -int(-count / (real_fraction * self.batch_size) // 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the position: small, JSON-able, and valid for another world size or number of threads."""
        return self.state_at(self._next)

    def state_at(self, batch: int) -> dict[str, Any]:
        """Return the state before global batch `batch`."""
        return {"batch": batch, "mix": self._fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state_dict`, or from `{"batch": n}`. Raise ShardError for the state of another mix."""
        if state.get("mix", self._fingerprint()) != self._fingerprint():
            raise ShardError(
                "this state is of another mix: use the shards, selection, alpha, batch size and seeds that it was "
                "saved with (ranks, workers and threads may differ)"
            )
        self._next = int(state["batch"])

    def _fingerprint(self) -> str:
        weights = sorted((self._class_weights or {}).items(), key=repr)
        cursors = [cursor.settings() for cursor in self._mixture.cursors]
        settings = (self.batch_size, self.seed, _stable_repr(self.alpha), weights, cursors)
        text = repr((settings, [stream.fingerprint() for stream in self.sources]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def has_batch(self, number: int) -> bool:
        """Allocate batches up to `number`, which becomes the last one. Return False if the mix ends before."""
        root = self._mixture.root
        if number < self._allocated - 1:
            root.reset()
            self._allocated, self._exhausted = 0, False
        while self._allocated <= number:
            before, remaining = self._drawn(), root.remaining()
            if self._exhausted or (remaining is not None and remaining < self.batch_size):
                return False
            try:
                root.allocate(self.batch_size, self._allocated)
            except SourceExhausted:
                self._exhausted = True
                return False
            self._allocated += 1
            self._last_allocation = before, self._drawn() - before
        return True

    def _drawn(self) -> NDArray[np.int64]:
        return np.array([cursor.drawn for cursor in self._mixture.cursors], np.int64)


def _stable_repr(value: object) -> str:
    """Return a text that is the same in every process, also for a schedule class without a `__repr__`."""
    default = type(value).__repr__ is object.__repr__  # contains an address
    return f"{type(value).__qualname__}({vars(value)!r})" if default and hasattr(value, "__dict__") else repr(value)


def _check_origin(sources: Sequence[Source], synthetic: bool) -> None:
    """Raise NotReal for a real sample among synthetic sources, or the reverse."""
    for stream in (source.stream for source in sources):
        wrong = stream.rows[stream.synthetic[stream.rows] != synthetic]
        if len(wrong):
            actual, declared = ("real", "synthetic") if synthetic else ("synthetic", "real")
            raise NotReal(
                f"{stream.reader.locate(int(wrong[0]))} is {actual}, but its stream was passed as {declared}: "
                "alpha would be wrong"
            )


def _check_compatible(streams: Sequence[ShardStream]) -> None:
    """Raise for streams that cannot be in one batch."""
    if not streams:
        raise ValueError("a mix needs a stream")
    names: dict[int, str] = {}
    for stream in streams:
        check_same_classes(names, stream.classes)
        names |= stream.classes
        if (stream.reader.has_masks, stream.decoder.size) != (streams[0].reader.has_masks, streams[0].decoder.size):
            raise ValueError("streams of one mix must be opened with the same `mask` and `size`")
