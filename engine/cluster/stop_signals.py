"""What signals ask a generation for."""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

from engine.errors import Stopped

_PATIENCE_S = 5.0


class StopSignals:
    """Ctrl-C and SIGTERM, within its `with` block, noted down for a loop that looks at them.

    Nothing is raised from a handler: it runs in the midst of whatever the main thread does, and Ray catches what is
    raised in the midst of its calls.

    draining: one Ctrl-C came: finish what is in flight, begin nothing.
    """

    def __init__(self) -> None:
        self.draining = False
        self._last: signal.Signals | None = None
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raises Stopped after SIGTERM, and after a second Ctrl-C."""
        if self._last is not None:
            error = Stopped(f"stopped by {self._last.name}; run the same command again to go on")
            error.exit_code = 128 + self._last
            raise error

    def __enter__(self) -> Self:
        # After ray.init, which sets a handler of its own for SIGTERM.
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._last is not None and time.monotonic() - self._since > _PATIENCE_S:
            os._exit(128 + number)  # the loop is held up in a call, as by a head node that is lost
        if self._last is None and (self.draining or number == signal.SIGTERM):
            self._last, self._since = signal.Signals(number), time.monotonic()
        self.draining = True
