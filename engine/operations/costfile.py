"""RUN/cost.json: what a run has cost over all of its commands, so that a budget holds however often it is begun."""

import json
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from engine.operations.background import Background
from engine.operations.budget import Meter, seconds_of
from engine.operations.log import Log
from shards.errors import ShardError, ShardmillError
from shards.retries import Missing
from shards.stats import Stats
from shards.store import Store

NAME = "cost.json"
_SECONDS = 30.0
_LAST_SECONDS = 1.0


def spent_s(store: Store, done: Iterable[Stats]) -> float:
    """Seconds of one actor that the run in a store has cost: as its commands wrote down, and at least what its finished
    units took. Raises ShardError where the file is damaged."""
    try:
        recorded = float(json.loads(store.read(NAME))["actor_seconds"])
    except Missing:
        recorded = 0.0
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{store}/{NAME}: damaged ({error!r}); remove it, and only finished units count") from None
    return max(recorded, seconds_of(done))


class CostFile:
    """A listener that writes down what the meter shows, every half minute and in the end, however that comes.

    A driver that is killed leaves so much unrecorded. A context manager; what keeps it from writing is logged.
    """

    def __init__(self, store: Store, meter: Meter, log: Log) -> None:
        self._store, self._meter, self._log = store, meter, log
        self._background = Background(_SECONDS)

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""

    def unit_failed(self, reason: str) -> None:
        """See `Listener`."""

    def tick(self, **counts: Any) -> None:
        """See `Listener`."""
        self._background.start(self._write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Whoever stops a run, perhaps with seconds until the machine is gone, waits no longer for a slow store.
        self._background.finish(self._write, timeout=_LAST_SECONDS)

    def _write(self) -> None:
        content = {"actor_seconds": round(self._meter.seconds, 3), **self._meter.cost.facts()}
        try:
            self._store.replace(NAME, (json.dumps(content) + "\n").encode())
        except (ShardmillError, OSError) as error:
            self._log.say("cost_file_failed", f"{NAME} is not up to date: {error}", "warning")
