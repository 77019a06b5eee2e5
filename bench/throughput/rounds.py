"""Measuring by turns."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """The options of one command.

    folder: where benchmarks may write.
    quick:  tiny shapes, one short round: to see that everything works, not for figures.
    device: `cuda` or `cpu`.
    until:  by `time.monotonic`; what has not begun by then is not run.
    """

    folder: Path
    quick: bool = False
    device: str = "cpu"
    until: float = float("inf")

    def pick(self, full: _T, quick: _T) -> _T:
        """The one that is meant for this command."""
        return quick if self.quick else full

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()


def by_turns(systems: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The figure of each system in each round; every round begins with another one. What is to be warmed up is."""
    names = list(systems)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            _note(figures, name, systems[name](), rounds)
    return figures


def together(names: Iterable[str], rounds: int, measured: Callable[[int], Sequence[float]]) -> dict[str, list[float]]:
    """Measure all systems of a round, which has a number, by one call; return the figures of each system."""
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name, figure in zip(figures, measured(number), strict=True):
            _note(figures, name, figure, rounds)
    return figures


def _note(figures: Mapping[str, list[float]], name: str, figure: float, rounds: int) -> None:
    figures[name].append(figure)
    print(f"  round {len(figures[name])} of {rounds}: {name}: {figure:,.4g}", flush=True)
