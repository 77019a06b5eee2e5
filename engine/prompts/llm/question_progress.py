"""Log lines of a round of questions: how many are answered, and the time that is left."""

import time
from collections import deque
from datetime import timedelta

from engine.prompts.llm.language_model import Log

_SECONDS = 5.0
_CALLS = 32


class QuestionProgress:
    """Counts answers; a line every few seconds, with the rate of the last calls, which is honest after a pause."""

    def __init__(self, round_number: int, total: int, log: Log) -> None:
        self._name, self._total, self._log = f"round {round_number}", total, log
        self._done = 0
        self._calls = deque([(time.monotonic(), 0)], maxlen=_CALLS)
        self._last_line = time.monotonic()
        log(f"{self._name}: {total:,} requests")

    def add(self, count: int) -> None:
        """Count answers."""
        now = time.monotonic()
        self._done += count
        self._calls.append((now, self._done))
        if self._done == self._total or now - self._last_line >= _SECONDS:
            self._last_line = now
            self._log(self._line())

    def _line(self) -> str:
        (since, before), (now, done) = self._calls[0], self._calls[-1]
        rate = (done - before) / max(now - since, 1e-9)
        left = timedelta(seconds=round((self._total - done) / rate))
        eta = f", ETA {left}" if done < self._total else ""
        return f"{self._name}: {done:,} of {self._total:,} requests answered | {rate:.2f} a second{eta}"
