"""How fast a run is of late, from when its units ended."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

_LEAST_SECONDS, _UNITS_LONG = 60.0, 8
"""What is looked back at: a minute, or so many times as long as a unit takes where that is more."""


class Ended(NamedTuple):
    """A finished unit: when, by any clock, how long it took, both in seconds, and its images."""

    at: float
    took: float
    images: int


def recent(units: Sequence[Ended], until: float) -> list[Ended]:
    """Those that a rate is made of."""
    since = _since(units, until)
    return [unit for unit in units if unit.at > since]


def rate(units: Sequence[Ended], until: float) -> float:
    """Images per second of the recent ones; 0.0 where there are none.

    It is over a time and not over a number of units: actors that began together end together, and within such a burst
    a few units would tell of a rate that no run has.
    """
    found = recent(units, until)
    if not found:
        return 0.0
    began = min(unit.at - unit.took for unit in found)
    seconds = until - max(began, _since(units, until))
    return sum(unit.images for unit in found) / seconds if seconds > 0 else 0.0


def _since(units: Sequence[Ended], until: float) -> float:
    return until - max(_LEAST_SECONDS, _UNITS_LONG * fmean(unit.took for unit in units)) if units else until
