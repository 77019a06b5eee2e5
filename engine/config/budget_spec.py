"""The budget of a run."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.config.strict import Strict

_Positive = Annotated[float, Field(gt=0)]


class BudgetSpec(Strict):
    """The most that a run may cost. When it is spent, the run finishes the units in progress and stops; with a larger
    budget the same command resumes it. A budget changes no byte of the result."""

    gpu_hours: _Positive | None = None
    """Most GPU hours over all commands. For actors on CPUs, most actor hours."""
    dollars: _Positive | None = None
    """Most dollars; needs a price."""
    price_per_gpu_hour: _Positive | None = None
    """Price in dollars of a GPU hour, or of an actor hour for actors on CPUs. Each command counts its hours at its
    own price."""

    @model_validator(mode="after")
    def _dollars_have_a_price(self) -> Self:
        if self.dollars is not None and self.price_per_gpu_hour is None:
            raise ValueError("dollars needs price_per_gpu_hour, which converts GPU hours to dollars")
        return self
