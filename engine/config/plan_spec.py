"""The quotas of a spec."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.strict import Count, Strict


class PlanSpec(Strict):
    """How many images of each class are made. Exactly one of per_class, total and balance_to."""

    per_class: Count | None = None
    """The same number for each class."""
    total: Count | None = None
    """So many in all, divided by `weights`."""
    weights: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = {}
    """With total: weight of a class by its name; a class that is not named weighs 1."""
    balance_to: Literal["max", "median"] | Count | None = None
    """Fill every class up to the largest, the median, or this number of images, real ones counted in."""
    only_below: Count | None = None
    """Make nothing for a class that has at least so many real images."""
    cap: Count | None = None
    """Make at most so many for any class."""
    overrides: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Exactly so many for the class of this name, whatever the rest says."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """How often a slot whose image a filter rejects is tried with another seed before it is recorded as failed."""

    @model_validator(mode="after")
    def _one_quota(self) -> Self:
        given = [name for name in ("per_class", "total", "balance_to") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of per_class, total and balance_to, not {' and '.join(given) or 'none'}"
            )
        if self.weights and self.total is None:
            raise ValueError("weights divide a total: give total as well")
        return self
