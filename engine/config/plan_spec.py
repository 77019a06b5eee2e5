"""The quotas of a spec."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.strict import Count, Strict


class PlanSpec(Strict):
    """The number of images of each class. Exactly one of per_class, total and balance_to is set."""

    per_class: Count | None = None
    """The same number for each class."""
    total: Count | None = None
    """Number of all images, divided by `weights`."""
    weights: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = {}
    """For total: weights by class name; 1 for a class that is not named."""
    balance_to: Literal["max", "median"] | Count | None = None
    """Fill every class up to the largest class, the median class, or this number of images. Real images count."""
    only_below: Count | None = None
    """Make no image of a class with at least this many real images."""
    cap: Count | None = None
    """Most images of any class."""
    overrides: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Exact number of images by class name; it overrides everything else."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts at a slot, each with another seed, before it is recorded as failed."""

    @model_validator(mode="after")
    def _one_quota(self) -> Self:
        quotas = [name for name in ("per_class", "total", "balance_to") if getattr(self, name) is not None]
        if len(quotas) != 1:
            raise ValueError(
                f"give exactly one of per_class, total and balance_to, not {' and '.join(quotas) or 'none'}"
            )
        if self.weights and self.total is None:
            raise ValueError("weights divide a total: give total as well")
        return self
