"""The progress of a long task: one line that is rewritten on a terminal, and elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator

from engine.monitoring.formatting import format_duration

_LIVE_SECONDS, _PLAIN_SECONDS = 0.2, 10.0


def print_progress(counts: Iterable[int], total: int, text: str) -> Iterator[int]:
    """Yield each count of finished items, and print it on stderr with the estimated time that remains."""
    live, started = sys.stderr.isatty(), time.monotonic()
    last = started
    for count in counts:
        yield count
        now = time.monotonic()
        if now - last >= (_LIVE_SECONDS if live else _PLAIN_SECONDS):
            last = now
            remaining = format_duration((now - started) / max(count, 1) * (total - count))
            line = f"{text}: {count:,} of {total:,}, {remaining} left"
            print(f"\r\033[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
    if live and last != started:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
