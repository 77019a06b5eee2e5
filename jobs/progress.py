"""How far a long piece of work is: one line that is written over on a terminal, plain lines now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator

_LIVE_SECONDS, _PLAIN_SECONDS = 0.2, 10.0


def shown(done: Iterable[int], total: int, text: str) -> Iterator[int]:
    """How much is done, of `total`, as it comes; said on stderr with the time for the rest at the pace so far."""
    live, started = sys.stderr.isatty(), time.monotonic()
    last = started
    for count in done:
        yield count
        now = time.monotonic()
        if now - last >= (_LIVE_SECONDS if live else _PLAIN_SECONDS):
            last = now
            left = _duration((now - started) / max(count, 1) * (total - count))
            line = f"{text}: {count:,} of {total:,}, {left} left"
            print(f"\r\033[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
    if live and last != started:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
