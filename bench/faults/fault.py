"""What a fault is: something that is done to a run, which must end as if it had not been."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.faults.scene import Scene

Where = Literal["folder", "bucket"]


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    act:         does it, and brings the run to its end as a user would, by the same command again if need be. Raises
                 Unexpected where the run goes another way, or where the fault could not be done to it.
    where:       what kind of place the run fills.
    quarantined: numbers of the units that are put aside, and so lack in the result.
    quick:       whether it belongs to the short half.
    """

    name: str
    act: Callable[[Scene], None]
    where: Where
    quarantined: tuple[int, ...]
    quick: bool

    @property
    def what(self) -> str:
        """What is done, in a sentence."""
        return " ".join(inspect.getdoc(self.act).split())  # type: ignore[union-attr]


class Impossible(Exception):
    """This machine does not let the fault be done; the text says what is needed."""


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, *, where: Where = "folder", quarantined: tuple[int, ...] = (), quick: bool = False
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Enter the decorated function into the matrix, as a row of this name."""

    def enter(act: Callable[[Scene], None]) -> Callable[[Scene], None]:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, act, where, quarantined, quick)
        return act

    return enter
