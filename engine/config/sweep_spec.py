"""Which trainings are compared."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from engine.config.strict import Count, Share, Strict

ORACLE = "oracle"
"""The arm that has all real images of the world split."""
ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class SweepSpec(Strict):
    """The `train` section at each alpha and seed, for equal steps, and what a sceptic would try instead."""

    alphas: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Synthetic fractions; 0 is always tried as well, for it is the baseline."""
    seeds: Count = 3
    """Trainings of each arm, with seeds 0, 1, 2, ..."""
    fixed: Literal["real", "total"] = "real"
    """What is the same at every alpha. real: all real train images are used, and as many synthetic ones beside them as
    there are. total: as many images in all as there are real train images, so that each alpha has fewer real ones."""
    arms: dict[ArmName, dict[str, Any]] = {}
    """Alternatives by name, each with what it changes in `train`; without synthetic images unless it sets alpha:
    {oversampling: {balance: oversample}, class_weights: {balance: class_weights}}."""
