"""Ctrl-C and SIGTERM, recorded for a loop that polls them."""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

from engine.errors import Stopped

_EXIT_AFTER_S = 5.0


class StopSignals:
    """A context manager that records Ctrl-C and SIGTERM.

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
        # A handler must not raise: it interrupts any line of the main thread, and Ray catches what is raised within its
        # calls.
        if self._stop_signal is not None and time.monotonic() - self._stopped_at > _EXIT_AFTER_S:
            os._exit(128 + number)  # the loop hangs in a call, for example because the head node is lost
        if self._stop_signal is None and (self.drain_requested or number == signal.SIGTERM):
            self._stop_signal, self._stopped_at = signal.Signals(number), time.monotonic()
        self.drain_requested = True
