"""RUN/cost.json: what a run has cost over all of its commands, so that a budget holds however often it is begun."""

import json
from types import TracebackType
from typing import Any, Self

from engine.monitoring.background import Background
from engine.monitoring.budget import NOTHING, Cost, Meter
from engine.monitoring.log import Log
from shards.errors import ShardError, ShardmillError
from shards.stats import Stats
from shards.storage.retries import FileMissing
from shards.storage.store import Store

NAME = "cost.json"
_SECONDS = 30.0
_LAST_SECONDS = 1.0


def recorded(store: Store) -> Cost:
    """What the commands of the run in a store wrote down, each at its own rate. Raises ShardError where the file is
    damaged."""
    try:
        found = json.loads(store.read(NAME))
        on_gpus = "gpu_hours" in found
        hours = float(found["gpu_hours" if on_gpus else "actor_hours"])
        dollars = None if found["dollars"] is None else float(found["dollars"])
        return Cost(float(found["actor_seconds"]), hours, dollars, float(found["unpriced_hours"]), on_gpus)
    except FileMissing:
        return NOTHING
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{store}/{NAME}: damaged ({error!r}); remove it, and only finished units count") from None


class CostFile:
    """A listener that writes down what the meter shows, every half minute and in the end, however that comes.

    A driver that is killed leaves so much unrecorded. A context manager; what keeps it from writing is logged.
    """

    def __init__(self, store: Store, meter: Meter, log: Log) -> None:
        self._store, self._meter, self._log = store, meter, log
        self._background = Background(_SECONDS)

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""

    def unit_failed(self, reason: str, slots: int) -> None:
        """See `Listener`."""

    def tick(self, **counts: Any) -> None:
        """See `Listener`."""
        self._background.start(self.write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Whoever stops a run, perhaps with seconds until the machine is gone, waits no longer for a slow store.
        self._background.finish(self.write, timeout=_LAST_SECONDS)

    def write(self) -> None:
        """What the meter shows now."""
        cost = self._meter.cost
        # Not rounded as for people: a run that is begun again and again would lose what each command rounds off.
        exact = {
            "actor_seconds": cost.actor_seconds,
            "gpu_hours" if cost.on_gpus else "actor_hours": cost.hours,
            "dollars": cost.dollars,
            "unpriced_hours": cost.unpriced_hours,
        }
        content = {name: value and round(value, 9) for name, value in exact.items()}
        try:
            self._store.replace(NAME, (json.dumps(content) + "\n").encode())
        except (ShardmillError, OSError) as error:
            self._log.say("cost_file_failed", f"{NAME} is not up to date: {error}", "warning")
