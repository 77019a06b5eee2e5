"""RUN/contact.jpg: some images of every class in one picture, rewritten while the run is made."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from engine.errors import UnitsFailed
from engine.monitoring.background import BackgroundTask
from engine.monitoring.listener import Listener
from engine.monitoring.log import Log
from engine.run.plan import Plan
from engine.run.run import Run
from shards.codec import Pixels, encode_rgb
from shards.errors import ShardmillError
from shards.stats import Stats
from shards.storage.manifest import read_index
from shards.storage.store import Store
from shards.tools.image_grid import GridRow, draw_grid, thumbnail

NAME = "contact.jpg"
PER_CLASS = 10
_CLASSES = 100
_UNITS = 64
_FIRST_UNITS = 4
_SECONDS = 30.0
_COLUMNS = ["key", "label", "image_offset", "image_size"]


@dataclass
class ThumbnailSelection:
    """Thumbnails of the PER_CLASS images of each class whose keys have the smallest hashes, sorted by hash."""

    by_label: dict[int, list[tuple[bytes, Pixels]]] = field(default_factory=dict)

    def add(self, shards: Store, shard: str) -> None:
        """Add a finished shard. Only selected images are read. Raises ShardError, OSError."""
        table = read_index(shards, shard)
        by_label: dict[int, dict[bytes, dict[str, Any]]] = {}
        for row in table.select(_COLUMNS).to_pylist() if table.num_rows else []:
            if row["label"] < _CLASSES:
                by_label.setdefault(row["label"], {})[hashlib.sha256(row["key"].encode()).digest()] = row
        for label, rows in by_label.items():
            selected = dict(self.by_label.get(label, []))
            best = sorted({*selected, *rows})[:PER_CLASS]
            self.by_label[label] = [
                (rank, selected[rank] if rank in selected else _thumbnail(shards, shard, rows[rank])) for rank in best
            ]


class ContactSheet(Listener):
    """A listener that writes the contact sheet at once, then at most every `seconds`, and when the run ends.

    It reads and draws a bounded number of images, on its own thread, and logs errors. A context manager.
    """

    def __init__(self, run: Run, finished: Iterable[Stats], log: Log, seconds: float = _SECONDS) -> None:
        self._run, self._log = run, log
        self._shown_units, self._selection = shown_units(run.context.plan), ThumbnailSelection()
        self._kept: Counter[str] = Counter()
        self._unread_units: set[int] = set()
        self._changed, self._background = False, BackgroundTask(seconds)
        for stats in finished:
            self.unit_done(stats)

    def unit_done(self, stats: Stats) -> None:
        """Count the images of a unit, and read its shard later if it is one that is shown."""
        self._kept.update(stats["kept"])
        self._unread_units |= {stats["unit"]} & self._shown_units
        self._changed = True

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """Start writing if something changed and the last time is long enough ago."""
        # The thread gets copies, because the driver continues to count.
        if self._changed and self._background.start(
            partial(self._write, sorted(self._unread_units), self._kept.copy())
        ):
            self._unread_units.clear()
            self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and not isinstance(error, UnitsFailed):
            return  # a stopped run does not wait for a picture
        self._background.finish(partial(self._write, sorted(self._unread_units), self._kept) if self._changed else None)

    def _write(self, units: Iterable[int], kept: Counter[str]) -> None:
        plan = self._run.context.plan
        for unit in units:
            with self._log_errors():
                self._selection.add(self._run.shards, plan.shard_name(unit))
        with self._log_errors():
            sheet = draw_contact_sheet(self._run.context.spec.name, plan, kept, self._selection)
            self._run.store.replace(NAME, encode_rgb(sheet, "jpg", 90))

    @contextmanager
    def _log_errors(self) -> Iterator[None]:
        try:
            yield
        except (ShardmillError, OSError) as error:
            self._log.message("contact_sheet_failed", f"{NAME} is incomplete: {error}", "warning")


def shown_units(plan: Plan) -> set[int]:
    """Return the units whose images may be shown: the first few, and others evenly over the run."""
    spread = _UNITS - _FIRST_UNITS
    if plan.n_units <= _UNITS:
        return set(range(plan.n_units))
    return {*range(_FIRST_UNITS), *((2 * i + 1) * plan.n_units // (2 * spread) for i in range(spread))}


def draw_contact_sheet(name: str, plan: Plan, kept: Counter[str], selection: ThumbnailSelection) -> Pixels:
    """Return a picture with one row per class, in label order, of the first classes. kept: images by class name."""
    rows = [
        GridRow(title, f"{kept[title]:,} of {quota:,}", [cell for _, cell in selection.by_label.get(label, [])])
        for label, (title, quota) in enumerate(zip(plan.classes[:_CLASSES], plan.quotas, strict=False))
    ]
    more = len(plan.classes) - len(rows)
    title = f"{name}: {kept.total():,} of {plan.total:,} images, all synthetic"
    return draw_grid(title, f"{more:,} more classes are not shown" if more else "", rows)


def _thumbnail(shards: Store, shard: str, row: dict[str, Any]) -> Pixels:
    return thumbnail(shards.read(f"{shard}.tar", row["image_offset"], row["image_size"]))
