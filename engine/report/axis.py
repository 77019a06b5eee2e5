"""A scale from values to percent of the length of an axis, for charts that are drawn by the page's style alone.

Such a chart fits any width by itself, and the names in it are escaped like all other text.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

_MARGIN = 0.06
_LEAST = 0.01
"""A shorter axis would make much of nothing."""


@dataclass(frozen=True)
class Axis:
    """From low to high. ticks: round values in between, in order."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Percent of the axis, 0 at its low end."""
        return 100 * (value - self.low) / (self.high - self.low)


def axis(values: Iterable[float], ticks: int) -> Axis:
    """One that holds all values with some room, with about so many ticks."""
    found = list(values)
    low, high = min(found), max(found)
    room = max((high - low) * _MARGIN, _LEAST / 2)
    low, high = low - room, high + room
    marks = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return Axis(low, high, tuple(float(one) for one in marks if low <= one <= high))
