"""Division of a whole number in proportion to weights."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from math import floor

_GOLDEN = Fraction(618_033_989, 1_000_000_000)  # its multiples modulo 1 are spread evenly over [0, 1) (Weyl)


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Return counts that add up to `total`, by the largest remainder method. At least one weight must be above 0."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def ends_of(total: int, weights: Sequence[float], turn: int) -> list[int]:
    """Cut range(total) in proportion to the weights, and return the end of each part, within one of its exact place.

    turn: number of the cut. Others make up for the rounding errors of one: systematic sampling (Madow, 1949).
    """
    sums = list(accumulate(map(Fraction, weights)))
    offset = turn * _GOLDEN % 1
    return [floor(total * end / sums[-1] + offset) for end in sums]
