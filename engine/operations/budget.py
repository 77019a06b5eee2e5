"""What a run costs, in GPU hours and dollars, and when that is enough."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.spec.run import Spec
from shards.stats import Stats


@dataclass(frozen=True)
class Cost:
    """hours: of GPUs; of actors where these compute on the CPU. dollars: None where the spec names no price."""

    hours: float
    dollars: float | None
    on_gpus: bool

    def facts(self) -> dict[str, float | None]:
        """As JSON values: `gpu_hours` or `actor_hours`, and `dollars`."""
        name = "gpu_hours" if self.on_gpus else "actor_hours"
        return {name: round(self.hours, 4), "dollars": None if self.dollars is None else round(self.dollars, 2)}

    def __str__(self) -> str:
        hours = f"{self.hours:,.2f} {'GPU' if self.on_gpus else 'actor'} hours"
        return hours if self.dollars is None else f"{hours}, ${self.dollars:,.2f}"


def cost_of(spec: Spec, actor_seconds: float) -> Cost:
    """Of so many seconds of one actor."""
    gpus, price = spec.cluster.gpus_per_actor, spec.budget.price_per_gpu_hour
    hours = actor_seconds / 3600 * (gpus or 1.0)
    return Cost(hours, None if price is None else hours * price, gpus > 0)


def seconds_of(done: Iterable[Stats]) -> float:
    """Seconds that actors spent on these units, added up."""
    return sum(float(stats["duration_s"]) for stats in done)


def overspent(spec: Spec, cost: Cost) -> str | None:
    """The limit that a cost has reached, like `budget.dollars 5`; None while there is room."""
    budget = spec.budget
    if budget.gpu_hours is not None and cost.hours >= budget.gpu_hours:
        return f"budget.gpu_hours {budget.gpu_hours:g}"
    if budget.dollars is not None and cost.dollars is not None and cost.dollars >= budget.dollars:
        return f"budget.dollars {budget.dollars:g}"
    return None


class Meter:
    """What a run has cost so far.

    It counts all the time that actors hold their devices, so loading, idling and units that fail as well. Of earlier
    commands it counts what they recorded, and at least what their finished units took.

    done: the finished units. recorded_s: see `costfile.spent_s`. clock: in seconds.
    """

    def __init__(
        self,
        spec: Spec,
        done: Iterable[Stats],
        recorded_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._clock = spec, clock
        self.seconds, self._actors, self._since = max(recorded_s, seconds_of(done)), 0, clock()

    def tick(self, actors: int) -> None:
        """From now on so many actors hold devices: those that make units, idle, or load their model."""
        now = self._clock()
        self.seconds += self._actors * (now - self._since)
        self._actors, self._since = actors, now

    @property
    def cost(self) -> Cost:
        """Up to the last tick."""
        return cost_of(self._spec, self.seconds)

    def exhausted(self) -> str | None:
        """Why no further unit may begin, with the remedy; None while there is money left."""
        limit = overspent(self._spec, self.cost)
        return limit and f"{limit} is spent ({self.cost}); raise it and run the same command again to go on"
