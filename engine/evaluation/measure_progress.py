"""Progress of a measurement."""

from collections.abc import Callable, Iterable, Iterator

Progress = Callable[[Iterable[int], int, str], Iterator[int]]
"""Yields the counts that it is given while it shows them; arguments: counts, total, what is counted."""


def noop(counts: Iterable[int], total: int, text: str) -> Iterator[int]:
    """Yield the counts and show nothing."""
    return iter(counts)
