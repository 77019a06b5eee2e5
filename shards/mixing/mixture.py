"""The sources of a mix, and the tree of nodes that allocates batch positions to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shards.mixing.error_diffusion import ErrorDiffuser, FixedShares, MixtureNode, SampleCounter
from shards.mixing.schedule import Constant, Schedule, ScheduledShares, exact_fraction
from shards.reading.shard_stream import ShardStream


@dataclass(frozen=True)
class Source:
    """A stream in a mix.

    weight:       how often it comes, relative to the other streams of its side, or of the whole mix where there is no
                  alpha. Default: its number of samples, so that all samples come equally often.
    on_exhausted: what happens after its last sample. "repeat": it starts again in another order. "once": the other
                  sources get its share. "stop": the mix ends after the last whole batch; with an alpha for each class,
                  it ends after the last sample of any class.
    """

    stream: ShardStream
    weight: float | None = None
    on_exhausted: Literal["repeat", "once", "stop"] = "repeat"

    def __post_init__(self) -> None:
        if self.on_exhausted not in ("repeat", "once", "stop"):
            raise ValueError(f"on_exhausted={self.on_exhausted!r} must be repeat, once or stop")
        if self.weight is not None and self.weight <= 0:
            raise ValueError(f"weight={self.weight!r} must be above 0")


Sources = ShardStream | Source | Sequence[ShardStream | Source] | None
Alpha = float | Schedule | Mapping[str | int, float] | None
ClassWeights = Mapping[str | int, float] | None
Sides = tuple[Sequence[Source], Sequence[Source]]


def as_sources(sources: Sources) -> tuple[Source, ...]:
    """Return one source, several or none as a tuple."""
    if sources is None:
        return ()
    several = (sources,) if isinstance(sources, ShardStream | Source) else sources
    return tuple(source if isinstance(source, Source) else Source(source) for source in several)


class SourceCursor(SampleCounter):
    """The position in a source, or in one class of it. number: of the source in the mix."""

    def __init__(self, source: Source, number: int, label: int | None) -> None:
        self.number, self.source, self._label = number, source, label
        self._order = None if label is None else source.stream.class_order(label)
        self.size = len(source.stream if self._order is None else self._order)
        limit = None if source.on_exhausted == "repeat" else self.size
        super().__init__(limit, ends_mix=source.on_exhausted == "stop")

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index rows of the samples at these positions of the order."""
        return self.source.stream.rows_at(positions, self._order)

    def share(self) -> Fraction:
        """Return the share among the sources of its side; a class has its part of the source's weight."""
        if self.source.weight is None:
            return Fraction(self.size)
        return exact_fraction(self.source.weight) * self.size / len(self.source.stream)

    def settings(self) -> tuple[object, ...]:
        """Return what determines the order of the mix."""
        return self.number, self._label, self.source.on_exhausted, self.source.weight


class Mixture:
    """The tree of nodes of a mix: its `root` and its leaves, `cursors`. ValueError for an impossible mix."""

    root: MixtureNode

    def __init__(self, sides: Sides, alpha: Alpha, class_weights: ClassWeights) -> None:
        if class_weights is not None and not isinstance(alpha, Mapping):
            raise ValueError("class_weights need an alpha for each class")
        self._sides = sides
        self.cursors: list[SourceCursor] = []
        if alpha is None:
            root = self._by_weight((*sides[0], *sides[1]), 0, None)
            assert root is not None
            self.root = root
        elif isinstance(alpha, Mapping):
            self.root = self._by_class(alpha, class_weights or {})
        else:
            self.root = self._by_alpha(Constant(alpha) if isinstance(alpha, int | float) else alpha)

    def _by_alpha(self, schedule: Schedule, label: int | None = None, scope: str = "the mix") -> MixtureNode:
        """Return the node of real and synthetic samples, of one class or of all. scope: its name in errors."""
        real = self._by_weight(self._sides[0], 0, label)
        synthetic = self._by_weight(self._sides[1], len(self._sides[0]), label)
        if real is not None and synthetic is not None:
            shares = ScheduledShares(schedule)
            shares(0)  # raises for an alpha out of range
            return ErrorDiffuser([real, synthetic], shares)
        only, required_alpha = (real, 0) if synthetic is None else (synthetic, 1)
        if only is None or schedule != Constant(required_alpha):
            missing = "synthetic" if synthetic is None else "real"
            raise ValueError(
                f"alpha {schedule} of {scope} needs {missing} samples, and there are none: give a {missing} stream"
            )
        return only

    def _by_class(self, alpha: Mapping[str | int, float], weights: Mapping[str | int, float]) -> MixtureNode:
        """Return the node of all classes, each with its own alpha."""
        streams = [source.stream for side in self._sides for source in side]
        labels = np.unique(np.concatenate([stream.label[stream.rows] for stream in streams])).tolist()
        names = {label: name for stream in streams for label, name in stream.classes.items()}
        alphas = _by_label(alpha, labels, names, "alpha")
        class_weights = _by_label(weights, labels, names, "class_weights")
        if missing := [names.get(label, label) for label in labels if label not in alphas]:
            raise ValueError(f'alpha has no value for class {missing[0]!r}: name it, or give "*" for all others')
        children: list[MixtureNode] = []
        shares: list[Fraction] = []
        for label in labels:
            name = names.get(label, label)
            children.append(self._by_alpha(Constant(alphas[label]), label, f"class {name!r}"))
            real = streams[: len(self._sides[0])]
            real_count = sum(int((stream.label[stream.rows] == label).sum()) for stream in real)
            if label in class_weights:
                shares.append(exact_fraction(class_weights[label]))
            elif real_count and alphas[label] != 1:
                shares.append(real_count / (1 - exact_fraction(alphas[label])))
            else:
                raise ValueError(f"class {name!r} has no real samples in the mix: set its share in class_weights")
        return ErrorDiffuser(children, FixedShares(shares))

    def _by_weight(self, sources: Sequence[Source], first: int, label: int | None) -> MixtureNode | None:
        """Return the node of sources numbered from `first`, by their weights; None if they have no such samples."""
        cursors = [SourceCursor(source, number, label) for number, source in enumerate(sources, first)]
        cursors = [cursor for cursor in cursors if cursor.size]
        self.cursors += cursors
        if len(cursors) > 1:
            return ErrorDiffuser(cursors, FixedShares([cursor.share() for cursor in cursors]))
        return cursors[0] if cursors else None


def _by_label(
    values: Mapping[str | int, float], labels: Sequence[int], names: Mapping[int, str], argument: str
) -> dict[int, float]:
    """Return the values by label; "*" is the value of all other labels."""
    known: dict[str | int, int] = {name: label for label, name in names.items()}
    known |= {label: label for label in labels}
    if unknown := [name for name in values if name not in known and name != "*"]:
        raise ValueError(
            f"{argument}: class {unknown[0]!r} is not in the streams, which have {list(names.values())[:8]}"
        )
    by_label = dict.fromkeys(labels, values["*"]) if "*" in values else {}
    return by_label | {known[name]: value for name, value in values.items() if name != "*"}
