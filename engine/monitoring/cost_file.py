"""RUN/cost.json: the cost of a run over all of its commands, so that a budget also holds for a resumed run."""

from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from engine.config.strict import Strict
from engine.monitoring.background import BackgroundTask
from engine.monitoring.budget import NO_COST, Cost, CostMeter
from engine.monitoring.listener import Listener
from engine.monitoring.log import Log
from shards.errors import ShardError, ShardmillError
from shards.storage.retries import FileMissing
from shards.storage.store import Store

NAME = "cost.json"
_SECONDS = 30.0
_EXIT_SECONDS = 1.0

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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
        return CostRecord.model_validate_json(store.read(NAME)).cost
    except FileMissing:
        return NO_COST
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ShardError(
            f"{store}/{NAME}: damaged ({reason}); remove it, then only the time of finished units counts"
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
            self._store.replace(NAME, f"{content}\n".encode())
        except (ShardmillError, OSError) as error:
            self._log.message("cost_file_failed", f"{NAME} is not up to date: {error}", "warning")
