"""How fast a run is of late, from when its units ended."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple, Self

from shards.stats import Stats

_LEAST_SECONDS, _UNITS_LONG = 60.0, 8
"""What is looked back at: a minute, or so many times as long as a unit takes where that is more."""


class Ended(NamedTuple):
    """A finished unit: when, by any clock, how long it took, both in seconds, its images, and all slots."""

    at: float
    took: float
    images: int
    slots: int

    @classmethod
    def of(cls, stats: Stats, at: float) -> Self:
        """Of the stats of a unit."""
        return cls(at, stats["duration_s"], stats["count"], stats["count"] + sum(stats["failed"].values()))


class Rate(NamedTuple):
    """Per second: images, and slots, which are images or failures. Slots are what is planned, and so what is left."""

    images: float
    slots: float


def recent(units: Sequence[Ended], until: float) -> list[Ended]:
    """Those that a rate is made of."""
    since = _since(units, until)
    return [unit for unit in units if unit.at > since]


def rate(units: Sequence[Ended], until: float) -> Rate:
    """Of the recent ones; 0.0 where there are none.

    It is over a time and not over a number of units: actors that began together end together, and within such a burst
    a few units would tell of a rate that no run has.
    """
    found = recent(units, until)
    if not found:
        return Rate(0.0, 0.0)
    began = min(unit.at - unit.took for unit in found)
    seconds = until - max(began, _since(units, until))
    if seconds <= 0:
        return Rate(0.0, 0.0)
    return Rate(sum(unit.images for unit in found) / seconds, sum(unit.slots for unit in found) / seconds)


def _since(units: Sequence[Ended], until: float) -> float:
    return until - max(_LEAST_SECONDS, _UNITS_LONG * fmean(unit.took for unit in units)) if units else until
