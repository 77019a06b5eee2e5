"""Measuring by turns."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """Of one command.

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
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(systems[name]())
            print(f"  round {number + 1} of {rounds}: {name}: {found[name][-1]:,.4g}", flush=True)
    return found
