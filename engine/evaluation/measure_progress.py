"""Telling how far a measurement is."""

from collections.abc import Callable, Iterable, Iterator

Progress = Callable[[Iterable[int], int, str], Iterator[int]]
"""Passes on how much is done, of a total, and tells somebody; the text says what."""


def untold(done: Iterable[int], total: int, text: str) -> Iterator[int]:
    """A Progress that tells nobody."""
    return iter(done)
