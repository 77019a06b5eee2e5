"""What a mix takes from: its sources, and the splits that share out its places among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shards.mixing.error_diffusion import Fixed, Leaf, Node, Split
from shards.mixing.schedule import Constant, Halves, Schedule
from shards.reading.shard_stream import ShardStream

WhenOut = Literal["repeat", "once", "stop"]


@dataclass(frozen=True)
class Source:
    """A stream in a mix.

    weight:   how often it comes beside the other streams of its side, or of the whole mix where no alpha is given;
              default: its number of samples, so that all of them come equally often.
    when_out: what happens when all its samples were had. "repeat": they come again in another order. "once": the others
              have its share from then on. "stop": the mix ends, after the last whole batch; with an alpha for each
              class, when those of one class were had.
    """

    stream: ShardStream
    weight: float | None = None
    when_out: WhenOut = "repeat"

    def __post_init__(self) -> None:
        if self.when_out not in ("repeat", "once", "stop") or (self.weight is not None and self.weight <= 0):
            raise ValueError(
                f"when_out={self.when_out!r} must be repeat, once or stop, and weight={self.weight!r} above 0"
            )


Sources = ShardStream | Source | Sequence[ShardStream | Source] | None


Sides = tuple[Sequence[Source], Sequence[Source]]
"""The real sources and the synthetic ones."""


def listed(sources: Sources) -> tuple[Source, ...]:
    """One source, or several, or none, as a tuple."""
    found = () if sources is None else (sources,) if isinstance(sources, ShardStream | Source) else tuple(sources)
    return tuple(one if isinstance(one, Source) else Source(one) for one in found)


class SourceCursor(Leaf):
    """The samples of a source, or of one class of it. number: of the source in the mix."""

    def __init__(self, source: Source, number: int, label: int | None) -> None:
        self.number, self._stream, self._label = number, source.stream, label
        self._order = None if label is None else source.stream.class_order(label)
        self.size = len(source.stream if self._order is None else self._order)
        self._facts = (number, label, source.when_out, source.weight)
        super().__init__(None if source.when_out == "repeat" else self.size, last=source.when_out == "stop")

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers in the stream's index of the samples at these positions."""
        return self._stream.order(positions, self._order)

    def facts(self) -> tuple[object, ...]:
        """What the order of the mix follows from."""
        return self._facts


def build_mixture(
    sides: Sides,
    alpha: float | Schedule | Mapping[str | int, float] | None,
    class_weights: Mapping[str | int, float] | None,
    leaves: list[SourceCursor],
) -> Node:
    """The tree of splits of a mix; its leaves are added to `leaves`. Raises ValueError for what cannot be mixed."""
    if class_weights is not None and not isinstance(alpha, Mapping):
        raise ValueError("class_weights belong to an alpha for each class")
    if alpha is None:
        (everything,) = _sides((tuple(source for side in sides for source in side),), None, leaves)
        assert everything is not None
        return everything
    if isinstance(alpha, Mapping):
        return _by_class(sides, alpha, class_weights or {}, leaves)
    return _halves(_sides(sides, None, leaves), Constant(alpha) if isinstance(alpha, int | float) else alpha, "the mix")


def _sides(sides: Sequence[Sequence[Source]], label: int | None, leaves: list[SourceCursor]) -> list[Node | None]:
    """For each side its sources by their weights; None for one without samples (of that class)."""
    found: list[Node | None] = []
    first = 0
    for side in sides:
        own = [(source, SourceCursor(source, number, label)) for number, source in enumerate(side, first)]
        first += len(side)
        own = [(source, leaf) for source, leaf in own if leaf.size]
        leaves += [leaf for _, leaf in own]
        # Of a source with a weight, a class has its part.
        shares = [
            Fraction(leaf.size) if source.weight is None else _exact(source.weight) * leaf.size / len(source.stream)
            for source, leaf in own
        ]
        found.append(own[0][1] if len(own) == 1 else Split([leaf for _, leaf in own], Fixed(shares)) if own else None)
    return found


def _halves(sides: Sequence[Node | None], schedule: Schedule, what: str) -> Node:
    real, synthetic = sides
    if real is not None and synthetic is not None:
        shares = Halves(schedule)
        shares(0)
        return Split([real, synthetic], shares)
    there, needed = (real, 0) if synthetic is None else (synthetic, 1)
    if there is None or schedule != Constant(needed):
        missing = "synthetic" if synthetic is None else "real"
        raise ValueError(
            f"alpha {schedule} of {what} needs {missing} samples, and there are none: give a {missing} stream"
        )
    return there


def _by_class(
    sides: Sides, alpha: Mapping[str | int, float], weights: Mapping[str | int, float], leaves: list[SourceCursor]
) -> Node:
    streams = [source.stream for side in sides for source in side]
    labels = np.unique(np.concatenate([stream.label[stream.rows] for stream in streams])).tolist()
    names = {label: name for stream in streams for label, name in stream.classes.items()}
    alphas, given = (
        _by_label(told, labels, names, what) for told, what in ((alpha, "alpha"), (weights, "class_weights"))
    )
    if missing := [names.get(label, label) for label in labels if label not in alphas]:
        raise ValueError(f'alpha says nothing of class {missing[0]!r}: name it, or give "*" for all others')
    children: list[Node] = []
    shares: list[Fraction] = []
    for label in labels:
        name = names.get(label, label)
        children.append(_halves(_sides(sides, label, leaves), Constant(alphas[label]), f"class {name!r}"))
        count = sum(int((source.stream.label[source.stream.rows] == label).sum()) for source in sides[0])
        if label not in given and (not count or alphas[label] == 1):
            raise ValueError(f"no real sample of class {name!r} comes: say by class_weights how often the class does")
        shares.append(_exact(given[label]) if label in given else count / (1 - _exact(alphas[label])))
    return Split(children, Fixed(shares))


def _by_label(
    told: Mapping[str | int, float], labels: Sequence[int], names: Mapping[int, str], what: str
) -> dict[int, float]:
    known: dict[str | int, int] = {name: label for label, name in names.items()}
    known |= {label: label for label in labels}
    if unknown := [name for name in told if name not in known and name != "*"]:
        raise ValueError(f"{what}: class {unknown[0]!r} is not in the streams, which have {list(names.values())[:8]}")
    found = dict.fromkeys(labels, told["*"]) if "*" in told else {}
    return found | {known[name]: value for name, value in told.items() if name != "*"}


def _exact(value: float) -> Fraction:
    """From its text, so that 0.1 is a tenth, and not the binary number beside it."""
    return Fraction(str(value))
