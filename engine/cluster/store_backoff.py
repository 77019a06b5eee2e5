"""A pause in the assignment of units while the store does not answer."""

import time
from collections.abc import Callable

from engine.errors import OutputError

_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_GIVE_UP_S = 15 * 60.0


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
        """Whether no unit may be assigned now."""
        return self._clock() < self._pause_until
