"""Showing how a generation goes: a live panel on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from shards.stats import Stats

_PLAIN_SECONDS = 5.0
_RATE_UNITS = 64
_SHOWN_CLASSES = 20


class Progress:
    """Counts of a run, and their display. A context manager; outside of it nothing is shown."""

    def __init__(self, classes: Sequence[str], quotas: Sequence[int], done: Sequence[Stats]) -> None:
        self._quotas = dict(zip(classes, quotas, strict=True))
        self._kept: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._actors = self._loading = self._quarantined = 0
        for stats in done:
            self._count(stats)
        # The rate is over the last units: those of an earlier command, and the loading of models, are no part of it.
        self._finished: deque[tuple[float, int]] = deque(maxlen=_RATE_UNITS)
        self._started: float | None = None
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, get_renderable=self._panel) if sys.stdout.isatty() else None
        self._last_line = 0.0

    def unit_done(self, stats: Stats) -> None:
        """A unit was finished."""
        self._count(stats)
        self._finished.append((time.monotonic(), stats["count"]))

    def unit_failed(self) -> None:
        """A unit was given up."""
        self._quarantined += 1

    def tick(self, actors: int, loading: int) -> None:
        """Called a few times a second."""
        self._actors, self._loading = actors, loading
        if actors and self._started is None:
            self._started = time.monotonic()
        if self._live is None and time.monotonic() - self._last_line >= _PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self.log(self.line())

    def log(self, text: str) -> None:
        """One line that stays."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, soft_wrap=True)

    def line(self) -> str:
        """The state in one line."""
        made, failed, planned = self._made, sum(self._failed.values()), sum(self._quotas.values())
        rate = self._rate()
        left = planned - made - failed
        eta = f", ETA {_duration(left / rate)}" if rate and left else ""
        parts = [f"{made:,} of {planned:,} images", f"{rate:.1f} img/s{eta}", f"{self._actors} actors"]
        if self._loading:
            parts.append(f"{self._loading} loading")
        if failed:
            parts.append(f"{failed:,} slots failed")
        if self._rejected:
            parts.append("rejected: " + ", ".join(f"{n:,} {why}" for why, n in sorted(self._rejected.items())))
        if self._quarantined:
            parts.append(f"{self._quarantined} units quarantined")
        return " | ".join(parts)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, tb)
        else:
            self.log(self.line())

    @property
    def _made(self) -> int:
        return sum(self._kept.values())

    def _count(self, stats: Stats) -> None:
        self._kept.update(stats["kept"])
        self._failed.update(stats["failed"])
        self._rejected.update(stats["rejected"])

    def _rate(self) -> float:
        if not self._finished or self._started is None:
            return 0.0
        full = len(self._finished) == _RATE_UNITS
        since = self._finished[0][0] if full else self._started
        images = sum(count for _, count in list(self._finished)[1 if full else 0 :])
        return images / max(time.monotonic() - since, 1e-9)

    def _panel(self) -> Table:
        table = Table(title=self.line(), title_justify="left", box=None)
        for heading in ("class", "made", "planned", "failed", ""):
            table.add_column(heading, justify="left" if heading in ("class", "") else "right")
        for name, quota in list(self._quotas.items())[:_SHOWN_CLASSES]:
            filled = round(30 * self._kept[name] / quota) if quota else 30
            bar = "█" * filled + "░" * (30 - filled)
            table.add_row(name, f"{self._kept[name]:,}", f"{quota:,}", f"{self._failed[name]:,}", bar)
        if len(self._quotas) > _SHOWN_CLASSES:
            table.add_row(f"... {len(self._quotas) - _SHOWN_CLASSES} more classes", "", "", "", "")
        return table


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
