"""Time slices of a second: one system works while all others are stopped, in turn, until each has finished.

The speed of a shared machine changes from second to second. Short slices distribute these changes over all systems.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from signal import Signals

SLICE_S = 1.0


@dataclass
class Sliced:
    """A system in slices: one process, or several that work together.

    began:  the start of its work by the monotonic clock.
    ended:  returns the end of its work by the monotonic clock; None while it works.
    slices: start and end of each slice that it had.
    """

    pids: Sequence[int]
    began: float
    ended: Callable[[], float | None]
    slices: list[tuple[float, float]] = field(default_factory=list)

    def seconds(self) -> float:
        """Return the time that the system had until its work was done."""
        end = self.ended()
        assert end is not None, "the system has not finished"
        return sum(max(0.0, min(last, end) - max(first, self.began)) for first, last in self.slices)

    def send(self, signal_: Signals) -> None:
        """Send a signal to all processes. Raises ProcessLookupError if all have exited before the work was done."""
        running = len(self.pids)
        for pid in self.pids:
            try:
                os.kill(pid, signal_)
            except ProcessLookupError:
                running -= 1
                if not running and self.ended() is None:
                    raise

    def run(self) -> None:
        """Let the system work for one slice."""
        first = time.monotonic()
        self.send(Signals.SIGCONT)
        time.sleep(SLICE_S)
        self.send(Signals.SIGSTOP)
        self.slices.append((first, time.monotonic()))


def by_slices(systems: Sequence[Sliced]) -> None:
    """Let systems work in turn until all have finished. They must not sleep: a sleep continues in a stopped process."""
    try:
        for system in systems:
            system.send(Signals.SIGSTOP)
        for system in cycle(systems):
            if system.ended() is None:
                system.run()
            elif all(other.ended() is not None for other in systems):
                return
    finally:
        for system in systems:
            system.send(Signals.SIGCONT)
