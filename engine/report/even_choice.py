"""An even choice of items from a long sequence."""

from collections.abc import Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def choose_evenly(items: Sequence[_Item], count: int) -> list[_Item]:
    """Return at most `count` items, evenly spaced and in their order."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]
