"""Axes of charts that HTML and CSS draw, with positions in percent.

Such a chart fits any width, takes the page's colours in light and dark mode, and its text is escaped like all other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

_MARGIN = 0.06
_SHORTEST = 0.01
"""Length of the shortest axis, so that tiny differences do not look large."""


@dataclass(frozen=True)
class Axis:
    """A range of values from `low` to `high`. ticks: round values in ascending order."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the position of a value in percent of the axis; 0 is its low end."""
        return 100 * (value - self.low) / (self.high - self.low)


def fit_axis(values: Iterable[float], ticks: int) -> Axis:
    """Return an axis that holds all values with a margin, and about `ticks` ticks."""
    shown = list(values)
    low, high = min(shown), max(shown)
    margin = max((high - low) * _MARGIN, _SHORTEST / 2)
    low, high = low - margin, high + margin
    candidates = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return Axis(low, high, tuple(float(tick) for tick in candidates if low <= tick <= high))
