"""A fault: something that is done to a run. The run must end as if it had not been done."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.faults.scene import Scene

Storage = Literal["folder", "bucket"]


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    inject:      injects the fault and completes the run as a user would, if need be by the same command again. Raises
                 UnexpectedOutcome if the run does something else, or if the fault could not be injected.
    storage:     where the run is stored.
    quarantined: numbers of the units that end in the quarantine and are missing in the result.
    quick:       whether the fault belongs to the quick part of the matrix.
    """

    name: str
    inject: Callable[[Scene], None]
    storage: Storage
    quarantined: tuple[int, ...]
    quick: bool

    @property
    def description(self) -> str:
        """The docstring of the fault."""
        return " ".join(inspect.getdoc(self.inject).split())  # type: ignore[union-attr]


class Unsupported(Exception):
    """This machine does not allow the fault; the text says what is needed."""


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, *, storage: Storage = "folder", quarantined: tuple[int, ...] = (), quick: bool = False
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Register the decorated function as a fault of the matrix."""

    def register(inject: Callable[[Scene], None]) -> Callable[[Scene], None]:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, inject, storage, quarantined, quick)
        return inject

    return register
