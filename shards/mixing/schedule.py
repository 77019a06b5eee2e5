"""Alpha over a training: a constant, or a function of the number of the global batch."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

RESOLUTION = 10**9
"""What a schedule says is rounded to whole parts of this, so that its sums are exact."""


class Schedule(Protocol):
    """The share of synthetic samples in each global batch."""

    def at(self, batch: int) -> Fraction:
        """From 0 to 1."""


@dataclass(frozen=True)
class Constant:
    """Always the same."""

    alpha: float

    def at(self, batch: int) -> Fraction:
        """From its text, so that 0.1 is a tenth, and not the binary number beside it."""
        return Fraction(str(self.alpha))


@dataclass(frozen=True)
class _Ramp:
    start: float
    end: float
    over: int

    def __post_init__(self) -> None:
        if self.over < 1:
            raise ValueError(f"over={self.over} must be a number of batches, at least 1; for alpha from then on: Steps")


class Linear(_Ramp):
    """A straight line from `start` to `end` over the first `over` batches, then `end`."""

    def at(self, batch: int) -> Fraction:
        """See the class."""
        return _parts(self.start + (self.end - self.start) * min(1.0, batch / self.over))


class Cosine(_Ramp):
    """Half a cosine from `start` to `end` over the first `over` batches, then `end`: slow at both ends (Loshchilov and
    Hutter, "SGDR", 2017)."""

    def at(self, batch: int) -> Fraction:
        """See the class."""
        return _parts(self.end + (self.start - self.end) * (1 + math.cos(math.pi * min(1.0, batch / self.over))) / 2)


@dataclass(frozen=True)
class Steps:
    """Alpha from each of these batches on. Synthetic first, real last: `Steps({0: 1.0, 8000: 0.0})`."""

    alphas: Mapping[int, float]

    def __post_init__(self) -> None:
        if 0 not in self.alphas:
            raise ValueError(f"steps {dict(self.alphas)} must say what alpha is from batch 0 on")

    def at(self, batch: int) -> Fraction:
        """See the class."""
        starts = sorted(self.alphas)
        return _parts(self.alphas[starts[bisect_right(starts, batch) - 1]])


@dataclass(frozen=True)
class Halves:
    """Shares of real and of synthetic samples by a schedule: see `shards.mixing.error_diffusion.Shares`."""

    schedule: Schedule

    def __call__(self, batch: int) -> tuple[int, int]:
        """See the class. Raises ValueError for an alpha outside of 0 to 1."""
        alpha = self.schedule.at(batch)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha {float(alpha)} of batch {batch} must be from 0 to 1")
        return alpha.denominator - alpha.numerator, alpha.numerator


def _parts(value: float) -> Fraction:
    return Fraction(round(value * RESOLUTION), RESOLUTION)
