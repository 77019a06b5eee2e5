"""Why a run assigns no units: signals, a spent budget, a full disk, or a store that does not answer for a while."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from engine.errors import BudgetSpent, OutputError, Stopped
from shards.errors import ShardmillError

_EXIT_AFTER_S = 5.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_GIVE_UP_S = 15 * 60.0


@dataclass
class StopConditions:
    """The reasons to end a run early. Units in flight are finished."""

    budget: str = ""  # which budget is spent
    output_error: OutputError | None = None  # why no unit can be stored
    interrupted: bool = False  # Ctrl-C was pressed once

    @property
    def reason(self) -> str:
        """Why no further unit is assigned; "" if the run goes on."""
        if self.budget or self.output_error:
            return self.budget or str(self.output_error)
        return "press Ctrl-C again to stop at once" if self.interrupted else ""

    def error(self, units_left: int) -> ShardmillError | None:
        """Return the error of a run that ended with so many unfinished units; None if it ended by itself."""
        if self.output_error is not None or not units_left:
            return self.output_error
        if self.budget:
            return BudgetSpent(f"stopped with {units_left} units left: {self.budget}")
        return Stopped(f"stopped with {units_left} units left; run the same command again to resume")


class StopSignals:
    """A context manager that records Ctrl-C and SIGTERM, for a loop that polls them.

    drain_requested: Ctrl-C was pressed once: finish the units in flight and assign no others.
    """

    def __init__(self) -> None:
        self.drain_requested = False
        self._stop_signal: signal.Signals | None = None
        self._stopped_at = 0.0
        self._handlers: dict[int, Any] = {}

    def raise_if_stopped(self) -> None:
        """Raise Stopped after SIGTERM, and after a second Ctrl-C."""
        if self._stop_signal is not None:
            error = Stopped(f"stopped by {self._stop_signal.name}; run the same command again to resume")
            error.exit_code = 128 + self._stop_signal
            raise error

    def __enter__(self) -> Self:
        # Install these handlers after ray.init, which replaces the handler of SIGTERM.
        self._handlers = {number: signal.signal(number, self._record) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        # A handler must not raise: it interrupts any line of the main thread, and Ray catches errors in its calls.
        if self._stop_signal is not None and time.monotonic() - self._stopped_at > _EXIT_AFTER_S:
            os._exit(128 + number)  # the loop hangs in a call, for example because the head node is lost
        if self._stop_signal is None and (self.drain_requested or number == signal.SIGTERM):
            self._stop_signal, self._stopped_at = signal.Signals(number), time.monotonic()
        self.drain_requested = True


class StoreBackoff:
    """A pause that doubles with each failure of the store. It saves work on units that could not be stored."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """End the pause: a unit was stored."""
        self._failing_since: float | None = None
        self._pause_until, self._next_wait = 0.0, _FIRST_WAIT_S

    def record_failure(self, error: BaseException) -> float:
        """Begin or continue a pause; return its remaining seconds. Raises OutputError after a quarter of an hour."""
        now = self._clock()
        self._failing_since = now if self._failing_since is None else self._failing_since
        failing_s = now - self._failing_since
        if failing_s >= _GIVE_UP_S:
            raise OutputError(
                f"{error}, for {failing_s / 60:.0f} minutes. Finished shards are kept: run the same command again"
            )
        if not self.is_active:  # units in flight fail together: during a pause they count as one failure
            self._pause_until = now + self._next_wait
            self._next_wait = min(2 * self._next_wait, _LONGEST_WAIT_S)
        return self._pause_until - now

    @property
    def is_active(self) -> bool:
        """Return whether no unit may be assigned now."""
        return self._clock() < self._pause_until
