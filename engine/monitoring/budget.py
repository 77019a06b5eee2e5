"""What a run costs, in GPU hours and dollars, and when that is enough."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from engine.config.spec import Spec
from shards.stats import Stats


@dataclass(frozen=True)
class Cost:
    """A total over commands that may differ in the GPUs of an actor and in the price.

    actor_seconds:  of one actor. hours: of GPUs; of actors where these compute on the CPU.
    dollars:        of the hours that had a price; None where none had. unpriced_hours: those that had none.
    """

    actor_seconds: float = 0.0
    hours: float = 0.0
    dollars: float | None = None
    unpriced_hours: float = 0.0
    on_gpus: bool = False

    def plus(self, spec: Spec, actor_seconds: float) -> Self:
        """With so many seconds more, at the rate of this spec. Its price, if it has one, is also that of the hours that
        had none."""
        gpus, price = spec.cluster.gpus_per_actor, spec.budget.price_per_gpu_hour
        hours = actor_seconds / 3600 * (gpus or 1.0)
        dollars, unpriced = self.dollars, self.unpriced_hours + hours
        if price is not None:
            dollars, unpriced = (dollars or 0.0) + unpriced * price, 0.0
        return type(self)(self.actor_seconds + actor_seconds, self.hours + hours, dollars, unpriced, gpus > 0)

    def at_least(self, spec: Spec, actor_seconds: float) -> Self:
        """So many seconds in all, if it is fewer: those that nobody recorded are at the rate of this spec."""
        return self.plus(spec, max(0.0, actor_seconds - self.actor_seconds))

    def facts(self) -> dict[str, float | None]:
        """As JSON values: `gpu_hours` or `actor_hours`, and `dollars`."""
        name = "gpu_hours" if self.on_gpus else "actor_hours"
        return {name: round(self.hours, 4), "dollars": None if self.dollars is None else round(self.dollars, 2)}

    def __str__(self) -> str:
        hours = f"{self.hours:,.2f} {'GPU' if self.on_gpus else 'actor'} hours"
        return hours if self.dollars is None else f"{hours}, ${self.dollars:,.2f}"


NOTHING = Cost()


def cost_of(spec: Spec, actor_seconds: float) -> Cost:
    """Of so many seconds of one actor."""
    return NOTHING.plus(spec, actor_seconds)


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

    done: the finished units. recorded: see `costfile.recorded`. clock: in seconds. seconds: of this command's actors.
    """

    def __init__(
        self,
        spec: Spec,
        done: Iterable[Stats],
        recorded: Cost = NOTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._clock, self._earlier = spec, clock, recorded.at_least(spec, seconds_of(done))
        self.seconds, self._actors, self._since = 0.0, 0, clock()

    def tick(self, actors: int) -> None:
        """From now on so many actors hold devices: those that make units, idle, or load their model."""
        now = self._clock()
        self.seconds += self._actors * (now - self._since)
        self._actors, self._since = actors, now

    @property
    def cost(self) -> Cost:
        """Up to the last tick."""
        return self._earlier.plus(self._spec, self.seconds)

    def exhausted(self) -> str | None:
        """Why no further unit may begin, with the remedy; None while there is money left."""
        limit = overspent(self._spec, self.cost)
        return limit and f"{limit} is spent ({self.cost}); raise it and run the same command again to go on"
