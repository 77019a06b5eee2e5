"""Schedules of alpha: the synthetic fraction as a function of the number of the global batch."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

_RESOLUTION = 10**9  # values are rounded to multiples of 1 / _RESOLUTION, so that their sums are exact


class Schedule(Protocol):
    """The synthetic fraction of each global batch."""

    def at(self, batch: int) -> Fraction:
        """Return the fraction of a batch, 0 to 1."""


@dataclass(frozen=True)
class Constant:
    """The same alpha for every batch."""

    alpha: float

    def at(self, batch: int) -> Fraction:
        """Return alpha; see Schedule."""
        return exact_fraction(self.alpha)


@dataclass(frozen=True)
class _Ramp:
    start: float
    end: float
    over: int

    def __post_init__(self) -> None:
        if self.over < 1:
            raise ValueError(f"over={self.over} must be a number of batches, at least 1; to change at once use Steps")

    def _progress(self, batch: int) -> float:
        return min(1.0, batch / self.over)


class Linear(_Ramp):
    """A straight line from `start` to `end` over the first `over` batches, then `end`."""

    def at(self, batch: int) -> Fraction:
        """Return the value of the line; see Schedule."""
        return _rounded(self.start + (self.end - self.start) * self._progress(batch))


class Cosine(_Ramp):
    """Half a cosine from `start` to `end` over the first `over` batches, then `end`; flat at both ends.

    Loshchilov and Hutter, "SGDR", 2017.
    """

    def at(self, batch: int) -> Fraction:
        """Return the value of the curve; see Schedule."""
        return _rounded(self.end + (self.start - self.end) * (1 + math.cos(math.pi * self._progress(batch))) / 2)


@dataclass(frozen=True)
class Steps:
    """Alpha from each of these batches on. Synthetic samples first, then real ones: `Steps({0: 1.0, 8000: 0.0})`."""

    alphas: Mapping[int, float]

    def __post_init__(self) -> None:
        if 0 not in self.alphas:
            raise ValueError(f"steps {dict(self.alphas)} must set alpha from batch 0 on")

    def at(self, batch: int) -> Fraction:
        """Return alpha of the last step up to this batch; see Schedule."""
        starts = sorted(self.alphas)
        return _rounded(self.alphas[starts[bisect_right(starts, batch) - 1]])


@dataclass(frozen=True)
class ScheduledShares:
    """Shares of real and synthetic samples by a schedule; see `shards.mixing.error_diffusion.ShareFunction`."""

    schedule: Schedule

    def __call__(self, batch: int) -> tuple[int, int]:
        """Return both shares. Raise ValueError for an alpha outside of 0 to 1."""
        alpha = self.schedule.at(batch)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha {float(alpha)} of batch {batch} must be from 0 to 1")
        return alpha.denominator - alpha.numerator, alpha.numerator


def exact_fraction(value: float) -> Fraction:
    """Return the fraction that a number is written as: 0.1 is a tenth, not the nearest binary number."""
    return Fraction(str(value))


def _rounded(value: float) -> Fraction:
    return Fraction(round(value * _RESOLUTION), _RESOLUTION)
