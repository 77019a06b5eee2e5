"""Work that the driver must not wait for."""

import threading
import time
from collections.abc import Callable


class Background:
    """Does one piece of work at a time, on a thread of its own, and begins one at most every `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, float("-inf")
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], None]) -> bool:
        """Begin it, unless another was begun too recently or is still being done; whether it was begun."""
        now = time.monotonic()
        if now - self._last < self._seconds or (self._thread is not None and self._thread.is_alive()):
            return False
        self._last = now
        # A daemon: a process that ends does not wait for it.
        self._thread = threading.Thread(target=work, name="background", daemon=True)
        self._thread.start()
        return True

    def finish(self, last: Callable[[], None] | None = None, timeout: float | None = None) -> None:
        """Wait for what is being done, and then for `last`; together at most `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        if self._thread is not None:
            self._thread.join(timeout)
        if last is not None and not (self._thread is not None and self._thread.is_alive()):
            self._last = float("-inf")
            self.start(last)
            assert self._thread is not None
            self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
