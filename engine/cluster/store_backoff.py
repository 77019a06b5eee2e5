"""What to do while the store does not answer."""

import time
from collections.abc import Callable

from engine.errors import OutputError
from shards.storage.retries import StoreUnreachable

_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_PATIENCE_S = 15 * 60.0


class StoreBackoff:
    """Keeps units from being made for nothing: none begins for a while, twice as long after each further failure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.over()

    def over(self) -> None:
        """A unit was stored."""
        self._since: float | None = None
        self._until, self._wait = 0.0, _FIRST_WAIT_S

    def failed(self, error: StoreUnreachable) -> float:
        """A unit could not be stored or its inputs not be read; gives the seconds to wait.

        Raises OutputError where that is so for a quarter of an hour.
        """
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= _PATIENCE_S:
            raise OutputError(
                f"{error}; so for {(now - self._since) / 60:.0f} minutes. Nothing that was finished is lost: run the "
                "same command again"
            )
        if not self.waiting:  # units in flight fail together, and are one failure
            self._until, self._wait = now + self._wait, min(2 * self._wait, _LONGEST_WAIT_S)
        return self._until - now

    @property
    def waiting(self) -> bool:
        """Whether no unit is to begin now."""
        return self._clock() < self._until
