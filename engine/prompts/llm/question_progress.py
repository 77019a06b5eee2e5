"""Progress of a round of questions as log lines: how many are answered, the rate, and the remaining time."""

import time
from collections import deque
from datetime import timedelta

from engine.prompts.llm.language_model import Log

_SECONDS_BETWEEN_LINES = 5.0
_RATE_WINDOW = 32
"""Number of calls that the rate is measured over, so that it recovers soon after a pause."""


class QuestionProgress:
    """A counter of the responses of a round that writes a line every few seconds."""

    def __init__(self, round_number: int, total: int, log: Log) -> None:
        self._name, self._total, self._log = f"round {round_number}", total, log
        self._answered = 0
        self._calls = deque([(time.monotonic(), 0)], maxlen=_RATE_WINDOW)
        self._last_line = time.monotonic()
        log(f"{self._name}: {total:,} requests")

    def add(self, count: int) -> None:
        """Count responses that arrived together."""
        now = time.monotonic()
        self._answered += count
        self._calls.append((now, self._answered))
        if self._answered == self._total or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._log(self._line())

    def _line(self) -> str:
        (first_time, first_count), (last_time, last_count) = self._calls[0], self._calls[-1]
        rate = (last_count - first_count) / max(last_time - first_time, 1e-9)
        remaining = timedelta(seconds=round((self._total - last_count) / rate))
        eta = f", ETA {remaining}" if last_count < self._total else ""
        return f"{self._name}: {last_count:,} of {self._total:,} requests answered | {rate:.2f} per second{eta}"
