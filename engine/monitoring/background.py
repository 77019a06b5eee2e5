"""Tasks that the driver must not wait for."""

import threading
import time
from collections.abc import Callable


class BackgroundTask:
    """A runner of one task at a time, on its own thread, that starts one at most every `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last_start = seconds, float("-inf")
        self._thread: threading.Thread | None = None

    @property
    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, task: Callable[[], None]) -> bool:
        """Start a task, unless one is running or started too recently. Return whether it was started."""
        now = time.monotonic()
        if now - self._last_start < self._seconds or self._running:
            return False
        self._last_start = now
        # A process that ends does not wait for a daemon thread.
        self._thread = threading.Thread(target=task, name="background", daemon=True)
        self._thread.start()
        return True

    def finish(self, last_task: Callable[[], None] | None = None, timeout: float | None = None) -> None:
        """Wait for the running task, then run `last_task`, together for at most `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._join(deadline)
        if last_task is not None and not self._running:
            self._last_start = float("-inf")
            self.start(last_task)
            self._join(deadline)

    def _join(self, deadline: float | None) -> None:
        if self._thread is not None:
            self._thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
