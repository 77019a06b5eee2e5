"""What a run may cost."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.config.strict import Strict

_Positive = Annotated[float, Field(gt=0)]


class BudgetSpec(Strict):
    """What a run may cost. When that is spent the units in flight are finished and the run stops; with a larger budget
    the same command goes on. Nothing here changes a byte of the result."""

    gpu_hours: _Positive | None = None
    """GPU hours at most, those of earlier commands counted in. Where actors compute on the CPU, an hour of an
    actor counts as one."""
    dollars: _Positive | None = None
    """Dollars at most; takes a price."""
    price_per_gpu_hour: _Positive | None = None
    """Dollars that a GPU hour costs, or an actor's hour where actors compute on the CPU. Each command's hours
    have its own price."""

    @model_validator(mode="after")
    def _dollars_have_a_price(self) -> Self:
        if self.dollars is not None and self.price_per_gpu_hour is None:
            raise ValueError("dollars takes price_per_gpu_hour, by which GPU hours become dollars")
        return self
