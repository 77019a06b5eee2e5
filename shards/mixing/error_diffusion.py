"""Sharing out the places of batches so that every source gets its share exactly: error diffusion."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import lcm
from typing import Protocol

Shares = Callable[[int], Sequence[int]]
"""For the number of a batch, the share of each child as a whole number, in proportion."""


class Fixed:
    """The same shares always, as whole numbers in their proportion."""

    def __init__(self, shares: Sequence[Fraction]) -> None:
        common = lcm(*(share.denominator for share in shares))
        self._shares = [int(share * common) for share in shares]

    def __call__(self, batch: int) -> Sequence[int]:
        """See Shares."""
        return self._shares


class Node(Protocol):
    """Something that places are given to."""

    def left(self) -> int | None:
        """How many more it can take; None: any number."""

    def take(self, count: int, batch: int) -> None:
        """Take so many places of a batch; never more than are left."""

    def reset(self) -> None:
        """Back to the beginning."""


class Ended(Exception):
    """A leaf that is to end everything has no sample left."""


class Leaf:
    """A source: how many samples were `drawn` from it so far.

    limit: how many it has, where it does not repeat. last: whether taking more than that raises Ended.
    """

    def __init__(self, limit: int | None = None, last: bool = False) -> None:
        self.limit, self.last, self.drawn = limit, last, 0

    def left(self) -> int | None:
        """See Node."""
        return None if self.limit is None or self.last else self.limit - self.drawn

    def take(self, count: int, batch: int) -> None:
        """See Node."""
        self.drawn += count
        if self.last and self.limit is not None and self.drawn > self.limit:
            raise Ended

    def reset(self) -> None:
        """See Node."""
        self.drawn = 0


class Split:
    """Gives places to its children by their shares.

    What a batch rounds off the next one gets, so that a child's total is never a whole sample ahead of its share, and
    with two children never more than half a sample from it. (With K children the one that waits longest is less than
    1/2 + 1/3 + ... + 1/K behind.) When a child runs out, the others have its share from then on.
    """

    def __init__(self, children: Sequence[Node], shares: Shares) -> None:
        self._children, self._shares = list(children), shares
        self.reset()

    def reset(self) -> None:
        """See Node."""
        # In parts of a sample: `_parts` of them are one.
        self._owed, self._parts = [0] * len(self._children), 1
        for child in self._children:
            child.reset()

    def left(self) -> int | None:
        """See Node."""
        total = 0
        for child in self._children:
            left = child.left()
            if left is None:
                return None
            total += left
        return total

    def take(self, count: int, batch: int) -> None:
        """See Node."""
        shares = self._shares(batch)
        while count:
            rooms = [child.left() for child in self._children]
            open_ = [i for i, room in enumerate(rooms) if room != 0]
            for i, due in zip(open_, self._allot(count, open_, [shares[i] for i in open_]), strict=True):
                room = rooms[i]
                taken = due if room is None else min(due, room)
                if taken:
                    self._children[i].take(taken, batch)
                    count -= taken

    def _allot(self, count: int, children: Sequence[int], shares: Sequence[int]) -> list[int]:
        """How many each of these children gets, by the largest remainder of what it is owed."""
        total = sum(shares)
        if not total:  # only those are left that were to have nothing
            shares, total = [1] * len(shares), len(shares)
        if self._parts % total:
            finer = lcm(self._parts, total)
            self._owed = [owed * (finer // self._parts) for owed in self._owed]
            self._parts = finer
        shares = [share * (self._parts // total) for share in shares]
        due = [self._owed[i] + share * count for i, share in zip(children, shares, strict=True)]
        given = [max(0, one // self._parts) for one in due]
        while rest := count - sum(given):  # once, but for what an earlier share has left behind
            step = 1 if rest > 0 else -1
            may = [i for i in range(len(due)) if (shares[i] if rest > 0 else given[i])]
            may.sort(key=lambda i: (due[i] - given[i] * self._parts, i), reverse=rest > 0)
            for i in may[: abs(rest)]:
                given[i] += step
        for i, one, got in zip(children, due, given, strict=True):
            self._owed[i] = one - got * self._parts
        return given
