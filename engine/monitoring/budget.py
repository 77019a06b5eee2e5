"""The cost of a run in GPU hours and dollars, and whether it has reached the budget."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from engine.config.spec import Spec
from shards.stats import Stats


@dataclass(frozen=True)
class Cost:
    """The total cost of commands that may differ in price and in GPUs per actor.

    actor_seconds:  summed over all actors.
    hours:          GPU hours; actor hours where actors compute on the CPU.
    dollars:        of the hours that have a price; None if none has.
    unpriced_hours: hours that have no price.
    on_gpus:        whether `hours` are GPU hours.
    """

    actor_seconds: float = 0.0
    hours: float = 0.0
    dollars: float | None = None
    unpriced_hours: float = 0.0
    on_gpus: bool = False

    def plus(self, spec: Spec, actor_seconds: float) -> Self:
        """Return the cost after more seconds at the GPUs per actor and price of this spec.

        A price also applies to the earlier hours that had none.
        """
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

    finished: stats of the units that earlier commands finished.
    recorded: cost that earlier commands recorded, see `cost_file.read_cost`.
    clock:    returns seconds.
    seconds:  actor seconds of this command.
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
