"""Processes in slices of a second: all but one are stopped, by turns, until each has done its work.

A shared machine changes its speed from second to second. Over slices so short, what it does is in the figures of all.
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
    """One process, or some that work together.

    ended: when its work was done, by the monotonic clock, once it was.
    """

    pids: Sequence[int]
    began: float
    ended: Callable[[], float | None]
    slices: list[tuple[float, float]] = field(default_factory=list)

    def seconds(self) -> float:
        """It had until its work was done."""
        end = self.ended()
        assert end is not None, "it has not ended"
        return sum(max(0.0, min(last, end) - max(first, self.began)) for first, last in self.slices)

    def send(self, signal_: Signals) -> None:
        """Signal all processes; some may have ended. Raises ProcessLookupError if all ended before the work did."""
        left = len(self.pids)
        for pid in self.pids:
            try:
                os.kill(pid, signal_)
            except ProcessLookupError:
                left -= 1
                if not left and self.ended() is None:
                    raise

    def run(self) -> None:
        """Let it work for one slice."""
        first = time.monotonic()
        self.send(Signals.SIGCONT)
        time.sleep(SLICE_S)
        self.send(Signals.SIGSTOP)
        self.slices.append((first, time.monotonic()))


def by_slices(all_: Sequence[Sliced]) -> None:
    """Let them work by turns until all have ended. Their work must not sleep, which a stopped process does too."""
    try:
        for one in all_:
            one.send(Signals.SIGSTOP)
        for one in cycle(all_):
            if one.ended() is None:
                one.run()
            elif all(other.ended() is not None for other in all_):
                return
    finally:
        for one in all_:
            one.send(Signals.SIGCONT)
