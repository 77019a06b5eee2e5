"""Error diffusion: allocate the positions of each batch to sources so that every source gets its exact share."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import lcm

ShareFunction = Callable[[int], Sequence[int]]
"""Maps a batch number to the shares of all children: whole numbers, in proportion."""


class FixedShares:
    """Shares that are equal for every batch."""

    def __init__(self, shares: Sequence[Fraction]) -> None:
        denominator = lcm(*(share.denominator for share in shares))
        self._shares = [int(share * denominator) for share in shares]

    def __call__(self, batch: int) -> Sequence[int]:
        """Return the shares; see ShareFunction."""
        return self._shares


class SourceExhausted(Exception):
    """A source that ends the mix has no sample left."""


class SampleCounter:
    """A leaf node: samples `drawn` from a source, at most `limit`. ends_mix: drawing more raises SourceExhausted."""

    def __init__(self, limit: int | None = None, ends_mix: bool = False) -> None:
        self.limit, self.ends_mix, self.drawn = limit, ends_mix, 0

    def remaining(self) -> int | None:
        """Return how many more positions this node can fill; None means any number."""
        return None if self.limit is None or self.ends_mix else self.limit - self.drawn

    def allocate(self, count: int, batch: int) -> None:
        """Give this node `count` positions of a batch, at most `remaining()`."""
        self.drawn += count
        if self.ends_mix and self.limit is not None and self.drawn > self.limit:
            raise SourceExhausted

    def reset(self) -> None:
        """Return to the initial state."""
        self.drawn = 0


class ErrorDiffuser:
    """An inner node: allocates positions to its children by their shares.

    The rounding error of a batch is carried to the next batch. So a child's total is never a whole sample ahead of its
    share. With two children it is within half a sample of its share; with K children it is less than
    1/2 + 1/3 + ... + 1/K behind. When a child is exhausted, the others get its share from then on.
    """

    def __init__(self, children: Sequence["MixtureNode"], shares: ShareFunction) -> None:
        self._children, self._shares = list(children), shares
        self.reset()

    def reset(self) -> None:
        """Return to the initial state."""
        # Integers stay exact: the error of child i is _errors[i] / _denominator samples.
        self._errors, self._denominator = [0] * len(self._children), 1
        for child in self._children:
            child.reset()

    def remaining(self) -> int | None:
        """Return how many more positions the children can fill; None means any number."""
        counts = [child.remaining() for child in self._children]
        return None if None in counts else sum(filter(None, counts))

    def allocate(self, count: int, batch: int) -> None:
        """Give the children `count` positions of a batch, at most `remaining()`."""
        shares = self._shares(batch)
        while count:
            capacity = [child.remaining() for child in self._children]
            available = [i for i, free in enumerate(capacity) if free != 0]
            requested = self._apportion(count, available, [shares[i] for i in available])
            for i, wanted in zip(available, requested, strict=True):
                free = capacity[i]
                allocated = wanted if free is None else min(wanted, free)
                if allocated:
                    self._children[i].allocate(allocated, batch)
                    count -= allocated

    def _apportion(self, count: int, children: Sequence[int], shares: Sequence[int]) -> list[int]:
        """Return the positions of each child, by the largest remainder of what it is due."""
        total = sum(shares)
        if not total:  # only children with a share of 0 have samples left
            shares, total = [1] * len(shares), len(shares)
        if self._denominator % total:
            denominator = lcm(self._denominator, total)
            self._errors = [error * (denominator // self._denominator) for error in self._errors]
            self._denominator = denominator
        weights = [share * (self._denominator // total) for share in shares]
        due = [self._errors[i] + weight * count for i, weight in zip(children, weights, strict=True)]
        counts = [max(0, amount // self._denominator) for amount in due]
        while missing := count - sum(counts):  # one pass, unless an earlier share left a large error
            step = 1 if missing > 0 else -1
            eligible = [i for i in range(len(due)) if (weights[i] if missing > 0 else counts[i])]
            eligible.sort(key=lambda i: (due[i] - counts[i] * self._denominator, i), reverse=missing > 0)
            for i in eligible[: abs(missing)]:
                counts[i] += step
        for i, amount, allocated in zip(children, due, counts, strict=True):
            self._errors[i] = amount - allocated * self._denominator
        return counts


MixtureNode = SampleCounter | ErrorDiffuser
"""A node of the tree that allocates batch positions to sources."""
