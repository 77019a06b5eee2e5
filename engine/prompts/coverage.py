"""Even coverage of all combinations of several factors, for any number of draws.

Random draws of 30 images over 27 combinations leave out a third of them and repeat others. Here a combination is chosen
factor by factor. Candidates are the least-used values of the factor, so that their counts differ by at most one. Among
them, the value is chosen whose pairs with the values chosen before were used least. This is the greedy idea of pairwise
test generation (Cohen et al., "The AETG System", 1997), applied to counts.
"""

from functools import cache
from math import lcm, prod

_MAX_CYCLE_LENGTH = 4096


class Coverage:
    """An infinite sequence of combinations over factors of the given sizes (each >= 1).

    One cycle is computed. Later cycles repeat it with the values of each factor rotated, each by another rotation. So
    memory is constant, and what one cycle lacks in evenness later cycles make up for.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        step = lcm(*sizes)
        self._cycle_length = _MAX_CYCLE_LENGTH // step * step if step <= _MAX_CYCLE_LENGTH else _MAX_CYCLE_LENGTH
        self._strides = [prod(sizes[:factor]) for factor in range(len(sizes))]
        self._rows: list[tuple[int, ...]] = []
        self._value_counts = [[0] * size for size in sizes]
        self._pair_counts: dict[tuple[int, int, int, int], int] = {}

    def __getitem__(self, k: int) -> tuple[int, ...]:
        """Return combination number k >= 0: an index into the values of each factor."""
        cycle, position = divmod(k, self._cycle_length)
        while len(self._rows) <= position:
            self._append_row()
        row = zip(self._rows[position], self.sizes, self._strides, strict=True)
        return tuple([(value + cycle // stride) % size for value, size, stride in row])

    def _append_row(self) -> None:
        number, row = len(self._rows), list[int]()
        for factor, counts in enumerate(self._value_counts):
            least_used = [value for value, count in enumerate(counts) if count == min(counts)]
            pairs = {
                value: [self._pair_counts.get((other, chosen, factor, value), 0) for other, chosen in enumerate(row)]
                for value in least_used
            }
            size = self.sizes[factor]
            # Ties rotate, so that the values of a single factor alternate.
            value = min(least_used, key=lambda v: (sum(pairs[v]), max(pairs[v], default=0), (v - number) % size))
            for (other, chosen), uses in zip(enumerate(row), pairs[value], strict=True):
                self._pair_counts[other, chosen, factor, value] = uses + 1
            counts[value] += 1
            row.append(value)
        self._rows.append(tuple(row))


@cache
def shared_coverage(sizes: tuple[int, ...]) -> Coverage:
    """Return the sequence for these sizes, shared by all classes that have them."""
    return Coverage(sizes)
