"""Mixing streams so that the synthetic fraction is alpha, exactly."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shards.errors import NotReal, ShardError
from shards.mixing.error_diffusion import Ended
from shards.mixing.mixture import Source, SourceCursor, Sources, build_mixture, listed
from shards.mixing.schedule import Constant, Schedule
from shards.reading.batch import Batch, BatchPart, gather
from shards.reading.class_map import agree
from shards.reading.decoder import Decoder
from shards.reading.epoch_order import Purpose, shuffled


class MixedStream:
    """A sequence of global batches, endless unless a source says otherwise, of which each rank reads its share.

    real, synthetic: a stream, or several with weights; each is read in its own order, without gaps.
    alpha:      synthetic fraction, 0 to 1: a number; a schedule over batches, like `Linear(1.0, 0.0, over=5000)`;
                or a number for each class by name or label, "*" for all others. After any number of batches the count of
                synthetic samples is alpha times all, to the nearest whole number: what one batch rounds off, the next one gets. None:
                the weights alone decide.
    class_weights: with an alpha for each class, how often classes come. Default: as often as if every real sample came
                equally often, and the synthetic ones besides.
    batch_size: of the global batch, over all ranks.
    rank, world_size: this reader's share, `batch_size / world_size` of every global batch. All ranks see the same
                sequence of global batches, for any world size that divides batch_size.

    Everything follows from (seed, number of the batch), so the state is that number. `sources` are the streams in the
    order in which `Batch.source` numbers them: real ones first.
    """

    def __init__(
        self,
        real: Sources,
        synthetic: Sources = None,
        alpha: float | Schedule | Mapping[str | int, float] | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        class_weights: Mapping[str | int, float] | None = None,
    ) -> None:
        if batch_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} cannot have an equal part of a batch of {batch_size}")
        sides = listed(real), listed(synthetic)
        self.sources = tuple(source.stream for side in sides for source in side)
        self.batch_size, self.alpha, self._class_weights = batch_size, alpha, class_weights
        self.seed, self.rank, self.world_size = seed, rank, world_size
        _check(sides, alpha)
        self._leaves: list[SourceCursor] = []
        self._root = build_mixture(sides, alpha, class_weights, self._leaves)
        self.decoder = Decoder(max(stream.decoder.threads for stream in self.sources), self.sources[0].decoder.size)
        self._next = self._dealt = 0
        self._ended = False
        self._last = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def batch(self, number: int) -> Batch:
        """This rank's part of global batch `number`: its places in order, each read from its source.

        Raises IndexError for a batch after the end of the mix.
        """
        return gather(self.parts(number), self.decoder)

    def parts(self, number: int) -> list[BatchPart]:
        """What this rank's part of global batch `number` is put together from, before anything is read."""
        starts, counts = self._deal(number)
        which = np.repeat(np.arange(len(counts)), counts)[shuffled(self.batch_size, Purpose.BATCH, self.seed, number)]
        # Place p holds the next unread sample of its leaf: as many as places before p have the same leaf.
        grouped = np.argsort(which, kind="stable")
        nth = np.empty(self.batch_size, np.int64)
        nth[grouped] = np.arange(self.batch_size) - np.repeat(np.cumsum(counts) - counts, counts)
        mine = np.arange(self.rank, self.batch_size, self.world_size)
        return self._parts(which[mine], nth[mine] + starts[which[mine]])

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the present one on."""
        while self.has(self._next):
            batch = self.batch(self._next)
            self._next += 1
            yield batch

    def has(self, number: int) -> bool:
        """Whether the mix is long enough to have a batch of this number."""
        try:
            self._deal(number)
        except IndexError:
            return False
        return True

    def batches_per_epoch(self, fixed: Literal["real", "total"] = "real") -> int:
        """Batches after which, at a constant alpha, every real sample came once ("real"; synthetic ones come besides),
        or as many samples in all as there are real ones ("total"; synthetic ones come in the place of some)."""
        real_ones = [stream for stream in self.sources if not stream.synthetic[stream.rows].any()]
        count = sum(len(stream) for stream in real_ones)
        if self.alpha is None and len(real_ones) < len(self.sources):
            raise ValueError("without alpha, weights decide when real samples come: say how many batches you want")
        if isinstance(self.alpha, int | float) and fixed == "real":
            real = 1 - Constant(self.alpha).at(0)
        elif fixed == "total" or self.alpha is None:
            real = Fraction(1)
        else:
            raise ValueError("an alpha that changes has no epoch of real samples: say how many batches you want")
        if not count or not real:
            raise ValueError("a mix without real samples has no epoch of them: say how many batches you want")
        return -int(-count / (real * self.batch_size) // 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: small, JSON-able, and valid for another world size or number of threads."""
        return self.state_at(self._next)

    def state_at(self, batch: int) -> dict[str, Any]:
        """The state before global batch `batch`."""
        return {"batch": batch, "mix": self._fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; `{"batch": n}` will do. Raises ShardError for a state of another mix."""
        if state.get("mix", self._fingerprint()) != self._fingerprint():
            raise ShardError(
                "this state is of another mix: shards, selection, alpha, batch size and seeds must be those that "
                "it was saved with (ranks, workers and threads may differ)"
            )
        self._next = int(state["batch"])

    def _fingerprint(self) -> str:
        weights = sorted((self._class_weights or {}).items(), key=repr)
        facts = (self.batch_size, self.seed, _repr(self.alpha), weights, [leaf.facts() for leaf in self._leaves])
        return hashlib.sha256(repr((facts, [one.fingerprint() for one in self.sources])).encode()).hexdigest()[:16]

    def _deal(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each leaf how many samples it has given before batch `number`, and how many it gives to it."""
        if number < self._dealt - 1:
            self._start_over()
        while self._dealt <= number:
            left = self._root.left()
            before = [leaf.drawn for leaf in self._leaves]
            if self._ended or (left is not None and left < self.batch_size):
                raise IndexError(f"the mix has {self._dealt} batches: a source ran out that does not repeat")
            try:
                self._root.take(self.batch_size, self._dealt)
            except Ended:
                self._ended = True
                continue
            self._dealt += 1
            self._last = np.array(before), np.array([leaf.drawn for leaf in self._leaves]) - np.array(before)
        return self._last

    def _start_over(self) -> None:
        self._root.reset()
        self._dealt, self._ended = 0, False

    def _parts(self, which: NDArray[np.int64], positions: NDArray[np.int64]) -> list[BatchPart]:
        """The rows of each stream, and where in this rank's batch they stand."""
        rows, source = np.empty(len(which), np.int64), np.empty(len(which), np.int64)
        for number in np.unique(which).tolist():
            leaf, places = self._leaves[number], which == number
            rows[places], source[places] = leaf.rows(positions[places]), leaf.number
        return [
            BatchPart(stream, rows[places], places, number)
            for number, stream in enumerate(self.sources)
            if len(places := np.flatnonzero(source == number))
        ]


def _repr(value: object) -> str:
    """Of the same text in every process, also for a user's own schedule."""
    plain = type(value).__repr__ is object.__repr__
    return f"{type(value).__qualname__}({vars(value)!r})" if plain and hasattr(value, "__dict__") else repr(value)


def _check(
    sides: tuple[Sequence[Source], Sequence[Source]], alpha: float | Schedule | Mapping[Any, float] | None
) -> None:
    """Raise what makes a mix other than what it says."""
    if alpha is not None:
        for side, wanted in zip(sides, (False, True), strict=True):
            for stream in (source.stream for source in side):
                wrong = stream.rows[stream.synthetic[stream.rows] != wanted]
                if len(wrong):
                    raise NotReal(
                        f"{stream.place(int(wrong[0]))} is {'real' if wanted else 'synthetic'}, but its stream is "
                        f"given as {'synthetic' if wanted else 'real'}: alpha would not be what it says"
                    )
    streams = [source.stream for side in sides for source in side]
    if not streams:
        raise ValueError("a mix needs a stream")
    names: dict[int, str] = {}
    for stream in streams:
        agree(names, stream.classes)
        names |= stream.classes
        if (stream.masked, stream.decoder.size) != (streams[0].masked, streams[0].decoder.size):
            raise ValueError("streams of one mix must be opened with the same `mask` and `size`")
