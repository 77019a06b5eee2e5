"""Showing how a generation goes: a live panel on a terminal, lines every few seconds elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rich.live import Live
from rich.table import Table

from engine.monitoring.budget import Meter
from engine.monitoring.log import Level, Log, TextLog
from engine.monitoring.rate import Ended, Rate, rate, recent
from shards.stats import Stats

_LINE_SECONDS = 5.0
_SHOWN_CLASSES = 20


class Listener(Protocol):
    """Who is told what happens in a generation, on the driver's own thread: it must return at once, and not raise."""

    def unit_done(self, stats: Stats) -> None:
        """A unit was finished."""
        ...

    def unit_failed(self, reason: str, slots: int) -> None:
        """A unit was given up. reason: `Kind: text` of the last error; slots: that it leaves unfilled."""
        ...

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """Called a few times a second. actors: with their model loaded; waiting: units that no actor has."""
        ...


class RunProgress:
    """A listener that counts and shows. A context manager; outside of it nothing is shown."""

    def __init__(
        self,
        classes: Sequence[str],
        quotas: Sequence[int],
        done: Sequence[Stats],
        meter: Meter | None = None,
        log: Log | None = None,
    ) -> None:
        self._quotas = dict(zip(classes, quotas, strict=True))
        self._kept: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._actors = self._loading = self._waiting = self._quarantined = self._given_up = 0
        for stats in done:
            self._count(stats)
        self._recent: list[Ended] = []  # of this command: the rate of an earlier one, on other nodes, tells nothing
        self._devices: set[str] = set()
        self._meter, self._log = meter, log or TextLog()
        console = self._log.console
        shown = console is not None and sys.stdout.isatty()
        self._live = Live(console=console, get_renderable=self._panel) if shown else None
        self._last_line = 0.0

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""
        self._count(stats)
        self._recent.append(Ended.of(stats, time.monotonic()))
        told = ("unit", "count", "rejected", "duration_s", "device")
        self._log.record("unit_done", **{name: stats[name] for name in told})

    def unit_failed(self, reason: str, slots: int) -> None:
        """See `Listener`."""
        self._quarantined += 1
        self._given_up += slots
        self._log.record("unit_failed", "error", reason=reason)

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """See `Listener`."""
        self._actors, self._loading, self._waiting = actors, loading, waiting
        if self._live is None and time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            self._say()

    def actor_ready(self, device: str, node: str) -> None:
        """An actor has its model. People are told of the first on each kind of device: the line counts them all."""
        text = f"an actor is ready on {device}"
        if device in self._devices:
            self._log.record("actor_ready", message=text, device=device, node=node)
        else:
            self._devices.add(device)
            self._log.say("actor_ready", text, device=device, node=node)

    def log(self, text: str, event: str = "note", level: Level = "info", **fields: Any) -> None:
        """One line that stays."""
        self._log.say(event, text, level, **fields)

    def line(self) -> str:
        """The state in one line."""
        facts = self.facts()
        eta = f", ETA {duration(facts['eta_s'])}" if facts["eta_s"] else ""
        parts = [
            f"{facts['made']:,} of {facts['planned']:,} images",
            f"{facts['images_per_second']:,.1f} img/s{eta}",
            f"{self._actors:,} actors",
        ]
        if self._loading:
            parts.append(f"{self._loading:,} loading")
        if facts["failed"]:
            parts.append(f"{facts['failed']:,} slots failed")
        if self._rejected:
            parts.append("rejected: " + ", ".join(f"{n:,} {why}" for why, n in sorted(self._rejected.items())))
        if self._quarantined:
            parts.append(f"{self._quarantined} units quarantined")
        if self._meter is not None:
            parts.append(str(self._meter.cost))
        return " | ".join(parts)

    def facts(self) -> dict[str, Any]:
        """The state as JSON values. eta_s: None while no rate is known."""
        made, failed, planned = (sum(counts.values()) for counts in (self._kept, self._failed, self._quotas))
        speed, left = self._rate(), planned - made - failed - self._given_up
        facts = {
            "made": made,
            "planned": planned,
            "failed": failed,
            "images_per_second": round(speed.images, 3),
            "eta_s": round(left / speed.slots, 1) if speed.slots else None,
            "actors": self._actors,
            "loading": self._loading,
            "units_waiting": self._waiting,
            "units_quarantined": self._quarantined,
            "rejected": dict(sorted(self._rejected.items())),
        }
        return facts if self._meter is None else facts | self._meter.cost.facts()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, tb)
        else:
            self._say()

    def _say(self) -> None:
        self._log.say("progress", self.line(), **self.facts())

    def _count(self, stats: Stats) -> None:
        self._kept.update(stats["kept"])
        self._failed.update(stats["failed"])
        self._rejected.update(stats["rejected"])

    def _rate(self) -> Rate:
        now = time.monotonic()
        self._recent = recent(self._recent, now)
        return rate(self._recent, now)

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


def duration(seconds: float) -> str:
    """2:03, 1:02:03 from an hour on, 3 d 1:02:03 from a day on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if not days and not hours:
        return f"{minutes}:{seconds:02d}"
    return (f"{days} d " if days else "") + f"{hours}:{minutes:02d}:{seconds:02d}"
