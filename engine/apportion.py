"""Whole numbers in proportion to weights."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from math import floor

_GOLDEN = Fraction(618_033_989, 1_000_000_000)
"""Multiples of it, modulo 1, are spread over [0, 1) as evenly as any sequence (Weyl)."""


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Counts that add up to `total`: the largest remainder method (Hamilton). At least one weight must be above 0."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def ends_of(total: int, weights: Sequence[float], turn: int) -> list[int]:
    """Where each part ends when range(total) is cut in proportion to the weights: each is within one of its share.

    What is rounded away in one turn is made up for in others, so that over many turns of few every part gets its share:
    systematic sampling (Madow, 1949).
    """
    sums = list(accumulate(map(Fraction, weights)))
    offset = turn * _GOLDEN % 1
    return [floor(total * end / sums[-1] + offset) for end in sums]
