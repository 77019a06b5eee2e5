"""The progress of a generation: a live panel on a terminal, and elsewhere a line every few seconds."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from rich.live import Live
from rich.table import Table

from engine.monitoring.budget import CostMeter
from engine.monitoring.formatting import format_duration
from engine.monitoring.listener import Listener
from engine.monitoring.log import Level, Log, TextLog
from engine.monitoring.throughput import FinishedUnit, recent_units, throughput
from shards.stats import Stats

_LINE_SECONDS = 5.0
_SHOWN_CLASSES = 20


class RunProgress(Listener):
    """A listener that counts and shows the progress of a run. A context manager, in which the live panel is shown."""

    def __init__(
        self,
        classes: Sequence[str],
        quotas: Sequence[int],
        finished: Sequence[Stats],
        meter: CostMeter | None = None,
        log: Log | None = None,
    ) -> None:
        self._quotas = dict(zip(classes, quotas, strict=True))
        self._kept: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._actors = self._loading = self._waiting = self._quarantined_units = self._quarantined_slots = 0
        for stats in finished:
            self._count(stats)
        # Units of this command only: earlier ones may have been made on other nodes.
        self._recent: list[FinishedUnit] = []
        self._devices: set[str] = set()
        self._meter, self._log = meter, log or TextLog()
        console = self._log.console
        shown = console is not None and sys.stdout.isatty()
        self._live = Live(console=console, get_renderable=self._panel) if shown else None
        self._last_line = 0.0

    def unit_done(self, stats: Stats) -> None:
        """Count a unit, and record it for programs."""
        self._count(stats)
        self._recent.append(FinishedUnit.of(stats, time.monotonic()))
        fields = ("unit", "count", "rejected", "duration_s", "device")
        self._log.record("unit_done", **{name: stats[name] for name in fields})

    def unit_failed(self, reason: str, slots: int) -> None:
        """Count a quarantined unit, and record it for programs."""
        self._quarantined_units += 1
        self._quarantined_slots += slots
        self._log.record("unit_failed", "error", reason=reason)

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """Keep the state of the pool, and log a line if the last one is old."""
        self._actors, self._loading, self._waiting = actors, loading, waiting
        if self._live is None and time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            self._log_line()

    def actor_ready(self, device: str, node: str) -> None:
        """Log that an actor has loaded the model. People see only the first on each kind of device."""
        text = f"an actor is ready on {device}"
        if device in self._devices:
            self._log.record("actor_ready", message=text, device=device, node=node)
        else:
            self._devices.add(device)
            self._log.message("actor_ready", text, device=device, node=node)

    def log(self, text: str, event: str = "note", level: Level = "info", **fields: Any) -> None:
        """Log a line above the live panel."""
        self._log.message(event, text, level, **fields)

    def line(self) -> str:
        """Return the state in one line."""
        facts = self.facts()
        eta = f", ETA {format_duration(facts['eta_s'])}" if facts["eta_s"] else ""
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
            parts.append("rejected: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(self._rejected.items())))
        if self._quarantined_units:
            parts.append(f"{self._quarantined_units} units quarantined")
        if self._meter is not None:
            parts.append(str(self._meter.cost))
        return " | ".join(parts)

    def facts(self) -> dict[str, Any]:
        """Return the state as JSON values. eta_s is None while no rate is known."""
        made, failed, planned = self._kept.total(), self._failed.total(), sum(self._quotas.values())
        now = time.monotonic()
        self._recent = recent_units(self._recent, now)
        rate, remaining = throughput(self._recent, now), planned - made - failed - self._quarantined_slots
        facts = {
            "made": made,
            "planned": planned,
            "failed": failed,
            "images_per_second": round(rate.images, 3),
            "eta_s": round(remaining / rate.slots, 1) if rate.slots else None,
            "actors": self._actors,
            "loading": self._loading,
            "units_waiting": self._waiting,
            "units_quarantined": self._quarantined_units,
            "rejected": dict(sorted(self._rejected.items())),
        }
        return facts if self._meter is None else facts | self._meter.cost.as_json()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._log_line()

    def _log_line(self) -> None:
        self._log.message("progress", self.line(), **self.facts())

    def _count(self, stats: Stats) -> None:
        self._kept.update(stats["kept"])
        self._failed.update(stats["failed"])
        self._rejected.update(stats["rejected"])

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
