"""Covering a grid of factors evenly, whatever the number of draws.

Drawn at random, 30 images over 27 combinations leave a third of them out and double others. Here the k-th combination
is built value by value: of the values used least so far (so that counts of a factor's values never differ by more than
one), the one whose pairs with the values already chosen were used least. This is the greedy idea of pairwise test
generation (Cohen et al., "The AETG System", 1997), applied to counts.
"""

from functools import cache
from math import lcm, prod

_LONGEST_CYCLE = 4096


class Coverage:
    """An endless sequence of combinations over factors of the given sizes (each >= 1).

    Combinations are built for one cycle and then repeated with each factor's values rotated, another rotation in
    every cycle, so that memory is constant and what a cycle lacks in evenness the next ones make up for.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        step = lcm(*sizes)
        self._cycle = max(_LONGEST_CYCLE // step, 1) * step if step <= _LONGEST_CYCLE else _LONGEST_CYCLE
        self._below = [prod(sizes[:factor]) for factor in range(len(sizes))]
        self._rows: list[tuple[int, ...]] = []
        self._values = [[0] * size for size in sizes]
        self._pairs: dict[tuple[int, int, int, int], int] = {}

    def __getitem__(self, k: int) -> tuple[int, ...]:
        """Combination number k >= 0: an index into each factor's values."""
        cycle, place = divmod(k, self._cycle)
        while len(self._rows) <= place:
            self._grow()
        row = zip(self._rows[place], self.sizes, self._below, strict=True)
        return tuple([(value + cycle // rank) % size for value, size, rank in row])

    def _grow(self) -> None:
        turn, row = len(self._rows), list[int]()
        for factor, counts in enumerate(self._values):
            least = [value for value, count in enumerate(counts) if count == min(counts)]
            used = {value: [self._pairs.get((a, b, factor, value), 0) for a, b in enumerate(row)] for value in least}
            size = self.sizes[factor]
            # Ties rotate, so that a lone factor takes its values in turn.
            value = min(least, key=lambda v: (sum(used[v]), max(used[v], default=0), (v - turn) % size))
            for a, b in enumerate(row):
                self._pairs[a, b, factor, value] = self._pairs.get((a, b, factor, value), 0) + 1
            counts[value] += 1
            row.append(value)
        self._rows.append(tuple(row))


@cache
def shared_coverage(sizes: tuple[int, ...]) -> Coverage:
    """The sequence for these sizes, shared by all classes that have them."""
    return Coverage(sizes)
