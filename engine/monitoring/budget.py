"""The cost of a run in GPU hours and dollars, its record RUN/cost.json, and whether it has reached the budget."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from engine.config.spec import Spec
from engine.config.strict import Strict
from engine.monitoring.background import BackgroundTask
from engine.monitoring.listener import Listener
from engine.monitoring.log import Log
from shards.errors import ShardError, ShardmillError
from shards.stats import Stats
from shards.storage.retries import FileMissing
from shards.storage.store import Store

_FILE = "cost.json"
_SECONDS = 30.0
_EXIT_SECONDS = 1.0
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Cost:
    """The total cost of commands that may differ in price and in GPUs per actor.

    hours:   GPU hours (`on_gpus`), or actor hours where actors compute on the CPU.
    dollars: of the hours that have a price; None if none has.
    """

    actor_seconds: float = 0.0
    hours: float = 0.0
    dollars: float | None = None
    unpriced_hours: float = 0.0
    on_gpus: bool = False

    def plus(self, spec: Spec, actor_seconds: float) -> Self:
        """Return the cost after more seconds at this spec's rate and price, which earlier hours without one get too."""
        gpus, price = spec.cluster.gpus_per_actor, spec.budget.price_per_gpu_hour
        hours = actor_seconds / 3600 * (gpus or 1.0)
        dollars, unpriced = self.dollars, self.unpriced_hours + hours
        if price is not None:
            dollars, unpriced = (dollars or 0.0) + unpriced * price, 0.0
        return type(self)(self.actor_seconds + actor_seconds, self.hours + hours, dollars, unpriced, gpus > 0)

    def at_least(self, spec: Spec, actor_seconds: float) -> Self:
        """Return the cost of at least so many seconds; missing ones are added at the rate of this spec."""
        return self.plus(spec, max(0.0, actor_seconds - self.actor_seconds))

    def as_json(self) -> dict[str, float | None]:
        """Return rounded JSON values: `gpu_hours` or `actor_hours`, and `dollars`."""
        name = "gpu_hours" if self.on_gpus else "actor_hours"
        return {name: round(self.hours, 4), "dollars": None if self.dollars is None else round(self.dollars, 2)}

    def __str__(self) -> str:
        hours = f"{self.hours:,.2f} {'GPU' if self.on_gpus else 'actor'} hours"
        return hours if self.dollars is None else f"{hours}, ${self.dollars:,.2f}"


NO_COST = Cost()


def total_duration(stats: Iterable[Stats]) -> float:
    """Return the seconds that actors spent on these units."""
    return sum(float(unit["duration_s"]) for unit in stats)


def reached_limit(spec: Spec, cost: Cost) -> str | None:
    """Return the budget limit that a cost has reached, like `budget.dollars 5`, or None."""
    budget = spec.budget
    if budget.gpu_hours is not None and cost.hours >= budget.gpu_hours:
        return f"budget.gpu_hours {budget.gpu_hours:g}"
    if budget.dollars is not None and cost.dollars is not None and cost.dollars >= budget.dollars:
        return f"budget.dollars {budget.dollars:g}"
    return None


class CostMeter:
    """A meter of the cost of a run, over all of its commands.

    It counts the whole time that actors hold their devices, which includes loading, idling and failed units. For
    earlier commands it counts their recorded cost, and at least the time of their finished units.
    """

    def __init__(
        self,
        spec: Spec,
        finished: Iterable[Stats],
        recorded: Cost = NO_COST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._clock, self._earlier = spec, clock, recorded.at_least(spec, total_duration(finished))
        self.seconds, self._actors, self._last_tick = 0.0, 0, clock()

    def tick(self, actors: int) -> None:
        """Set how many actors hold devices from now on: those that make units, idle, or load their model."""
        now = self._clock()
        self.seconds += self._actors * (now - self._last_tick)
        self._actors, self._last_tick = actors, now

    @property
    def cost(self) -> Cost:
        """The cost up to the last tick."""
        return self._earlier.plus(self._spec, self.seconds)

    def exhausted(self) -> str | None:
        """Return why no further unit may begin, with the remedy; None while the cost is below the budget."""
        limit = reached_limit(self._spec, self.cost)
        return limit and f"{limit} is spent ({self.cost}); raise it and run the same command again to continue"


class CostRecord(Strict):
    """The content of the file. It has either `gpu_hours` or `actor_hours`; see `Cost`."""

    actor_seconds: Amount
    gpu_hours: Amount | None = None
    actor_hours: Amount | None = None
    dollars: Amount | None
    unpriced_hours: Amount

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if (self.gpu_hours is None) == (self.actor_hours is None):
            raise ValueError("it needs either gpu_hours or actor_hours")
        return self

    @classmethod
    def of(cls, cost: Cost) -> Self:
        """Return the record of a cost."""
        # More digits than `Cost.as_json`, which would lose the cost of many short commands.
        return cls(
            actor_seconds=round(cost.actor_seconds, 9),
            dollars=cost.dollars and round(cost.dollars, 9),
            unpriced_hours=round(cost.unpriced_hours, 9),
            **{"gpu_hours" if cost.on_gpus else "actor_hours": round(cost.hours, 9)},
        )

    @property
    def cost(self) -> Cost:
        """The cost that was recorded."""
        hours = self.actor_hours if self.gpu_hours is None else self.gpu_hours
        return Cost(self.actor_seconds, hours or 0.0, self.dollars, self.unpriced_hours, self.gpu_hours is not None)


def read_cost(store: Store) -> Cost:
    """Return the recorded cost of the run in a store. Raises ShardError if the file is damaged."""
    try:
        return CostRecord.model_validate_json(store.read(_FILE)).cost
    except FileMissing:
        return NO_COST
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ShardError(
            f"{store}/{_FILE}: damaged ({reason}); remove it, then only the time of finished units counts"
        ) from None


class CostRecorder(Listener):
    """A listener that writes a meter's cost to RUN/cost.json every half minute and when the run ends or fails.

    A driver that is killed leaves up to half a minute unrecorded. Errors of writing are logged. A context manager.
    """

    def __init__(self, store: Store, meter: CostMeter, log: Log) -> None:
        self._store, self._meter, self._log = store, meter, log
        self._background = BackgroundTask(_SECONDS)

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """Start writing if the last time is half a minute ago."""
        self._background.start(self.write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A stopped run may have only seconds until its machine is taken, so it does not wait for a slow store.
        self._background.finish(self.write, timeout=_EXIT_SECONDS)

    def write(self) -> None:
        """Write the current cost."""
        content = CostRecord.of(self._meter.cost).model_dump_json(exclude_unset=True)
        try:
            self._store.replace(_FILE, f"{content}\n".encode())
        except (ShardmillError, OSError) as error:
            self._log.message("cost_file_failed", f"{_FILE} is not up to date: {error}", "warning")
