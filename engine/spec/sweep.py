"""The classifier that asks whether it helped."""

from typing import Annotated

from pydantic import Field

from engine.spec.base import Count, Share, Strict


class SweepSpec(Strict):
    """The classifier that asks whether it helped, trained at each alpha and seed for the same number of steps."""

    alphas: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Synthetic fractions; 0 is always tried as well, for it is the baseline."""
    seeds: Count = 3
    """Trainings of each arm, with seeds 0, 1, 2, ..."""
    steps: Count = 400
    """Optimizer steps of each training."""
    batch_size: Count = 64
    """Images of a step, real and synthetic together."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak of the one-cycle schedule of AdamW."""
