"""The contact sheet: a few images of every class in one picture, which grows while the run is made."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

from engine.errors import UnitsFailed
from engine.monitoring.background import Background
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
class Picks:
    """Of each class the PER_CLASS images whose keys have the least hashes, out of the shards that were added: the same
    in whatever order they come. by_label: hash and thumbnail."""

    by_label: dict[int, list[tuple[bytes, Pixels]]] = field(default_factory=dict)

    def add(self, shards: Store, shard: str) -> None:
        """Look at one finished shard, of which only the images that are picked are read. Raises ShardError, OSError."""
        table = read_index(shards, shard)
        found: dict[int, list[tuple[bytes, dict[str, Any]]]] = {}
        for row in table.select(_COLUMNS).to_pylist() if table.num_rows else []:
            if row["label"] < _CLASSES:
                found.setdefault(row["label"], []).append((_rank(row["key"]), row))
        for label, candidates in found.items():
            known, new = dict(self.by_label.get(label, [])), dict(candidates)
            best = sorted({*known, *new})[:PER_CLASS]
            self.by_label[label] = [
                (rank, known[rank] if rank in known else _thumbnail(shards, shard, new[rank])) for rank in best
            ]


class ContactSheet:
    """A listener that writes RUN/contact.jpg: at once, then at most every `seconds`, and in the end.

    It reads and draws on a thread of its own, and of a run of any size only so many shards and images. What keeps it
    from reading or writing is logged, and stops nothing. A context manager. done: units that were finished before.
    """

    def __init__(self, run: Run, done: Iterable[Stats], log: Log, seconds: float = _SECONDS) -> None:
        self._run, self._log = run, log
        self._watched, self._picks = watched(run.context.plan), Picks()
        self._kept: Counter[str] = Counter()
        self._ready: set[int] = set()
        self._changed, self._background = False, Background(seconds)
        for stats in done:
            self.unit_done(stats)

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""
        self._kept.update(stats["kept"])
        self._ready |= {stats["unit"]} & self._watched
        self._changed = True

    def unit_failed(self, reason: str, slots: int) -> None:
        """See `Listener`."""

    def tick(self, **counts: Any) -> None:
        """See `Listener`."""
        # What the work is given stays as it is: the driver goes on counting.
        if self._changed and self._background.start(partial(self._write, sorted(self._ready), self._kept.copy())):
            self._ready.clear()
            self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None and not isinstance(error, UnitsFailed):
            return  # whoever stops a run does not wait for a picture
        self._background.finish(partial(self._write, sorted(self._ready), self._kept) if self._changed else None)

    def _write(self, units: Iterable[int], kept: Counter[str]) -> None:
        plan = self._run.context.plan
        for unit in units:
            with self._complaining():
                self._picks.add(self._run.shards, plan.shard_name(unit))
        with self._complaining():
            sheet = draw(self._run.context.spec.name, plan, kept, self._picks)
            self._run.store.replace(NAME, encode_rgb(sheet, "jpg", 90))

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except (ShardmillError, OSError) as error:
            self._log.say("contact_sheet_failed", f"{NAME} lacks something: {error}", "warning")


def watched(plan: Plan) -> set[int]:
    """The units whose images may be shown: the first few, and others evenly over the run, whatever its size."""
    spread = _UNITS - _FIRST_UNITS
    if plan.n_units <= _UNITS:
        return set(range(plan.n_units))
    return {*range(_FIRST_UNITS), *((2 * i + 1) * plan.n_units // (2 * spread) for i in range(spread))}


def draw(name: str, plan: Plan, kept: Counter[str], picks: Picks) -> Pixels:
    """A row a class, in label order, of the first so many. kept: images by class name, over all finished units."""
    rows = [
        GridRow(title, f"{kept[title]:,} of {quota:,}", [cell for _, cell in picks.by_label.get(label, [])])
        for label, (title, quota) in enumerate(zip(plan.classes[:_CLASSES], plan.quotas, strict=False))
    ]
    more = len(plan.classes) - len(rows)
    title = f"{name}: {kept.total():,} of {plan.total:,} images, all synthetic"
    return draw_grid(title, f"{more:,} more classes are not shown" if more else "", rows)


def _rank(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _thumbnail(shards: Store, shard: str, row: dict[str, Any]) -> Pixels:
    return thumbnail(shards.read(f"{shard}.tar", row["image_offset"], row["image_size"]))
