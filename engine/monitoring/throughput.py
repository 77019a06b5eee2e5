"""The recent throughput of a run, computed from the times at which its units ended."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, Self

from shards.stats import Stats

_MIN_WINDOW_S = 60.0
_WINDOW_UNITS = 8
"""The window is at least a minute, and at least so many times the median duration of a unit."""


class FinishedUnit(NamedTuple):
    """A finished unit. ended_at: in seconds, by any clock. slots: images that were kept, and failed slots."""

    ended_at: float
    duration_s: float
    images: int
    slots: int

    @classmethod
    def of(cls, stats: Stats, ended_at: float) -> Self:
        """Return the unit of these stats."""
        return cls(ended_at, stats["duration_s"], stats["count"], stats["count"] + sum(stats["failed"].values()))


class Throughput(NamedTuple):
    """Images and slots per second. The rate of slots, failed ones included, gives the time that remains."""

    images: float
    slots: float


def recent_units(units: Sequence[FinishedUnit], now: float) -> list[FinishedUnit]:
    """Return the units that ended within the window."""
    start = _window_start(units, now)
    return [unit for unit in units if unit.ended_at > start]


def throughput(units: Sequence[FinishedUnit], now: float) -> Throughput:
    """Return the throughput over the window; 0.0 if no unit ended in it."""
    # The window is a time, not a number of units: actors that started together end together, and the few units of such
    # a burst give a rate that the run does not have.
    recent = recent_units(units, now)
    if not recent:
        return Throughput(0.0, 0.0)
    first_start = min(unit.ended_at - unit.duration_s for unit in recent)
    seconds = now - max(first_start, _window_start(units, now))
    if seconds <= 0:
        return Throughput(0.0, 0.0)
    return Throughput(sum(unit.images for unit in recent) / seconds, sum(unit.slots for unit in recent) / seconds)


def _window_start(units: Sequence[FinishedUnit], now: float) -> float:
    return now - max(_MIN_WINDOW_S, _WINDOW_UNITS * median(unit.duration_s for unit in units)) if units else now
