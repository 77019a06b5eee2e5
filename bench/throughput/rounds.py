"""Rounds: all systems are measured in turn, round after round."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """The options of a command.

    folder: scratch folder of the benchmarks.
    quick:  tiny sizes and one short round, to check that everything works. Its figures mean nothing.
    device: `cuda` or `cpu`.
    until:  time limit by `time.monotonic`; no benchmark starts later.
    """

    folder: Path
    quick: bool = False
    device: str = "cpu"
    until: float = float("inf")

    def pick(self, full: _T, quick: _T) -> _T:
        """Return `quick` for a quick command, else `full`."""
        return quick if self.quick else full

    @property
    def left(self) -> float:
        """Return the seconds until the time limit."""
        return self.until - time.monotonic()


def by_turns(systems: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure all systems, already warm, in each round; return the figures of each system.

    Every round begins with another system.
    """
    names = list(systems)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            _record(figures, name, systems[name](), rounds)
    return figures


def together(
    names: Iterable[str], rounds: int, measure_round: Callable[[int], Sequence[float]]
) -> dict[str, list[float]]:
    """Measure all systems of a round with one call; return the figures of each system.

    measure_round: takes the number of the round and returns one figure per system.
    """
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name, figure in zip(figures, measure_round(number), strict=True):
            _record(figures, name, figure, rounds)
    return figures


def _record(figures: Mapping[str, list[float]], name: str, figure: float, rounds: int) -> None:
    figures[name].append(figure)
    print(f"  round {len(figures[name])} of {rounds}: {name}: {figure:,.4g}", flush=True)
