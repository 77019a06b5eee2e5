"""The `sweep` section of a spec: which trainings are compared."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from engine.config.strict import Count, Share, Strict

ORACLE = "oracle"
"""Name of the arm that has all real images of the world split."""
ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class SweepSpec(Strict):
    """The `train` section at each alpha and seed with equal steps, and alternatives to synthetic images."""

    alphas: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Synthetic fractions. The baseline 0 is always included."""
    seeds: Count = 3
    """Trainings of each arm, with seeds 0, 1, 2, ..."""
    fixed: Literal["real", "total"] = "real"
    """What is equal at every alpha. real: all real train images are used, together with as many synthetic ones as there
    are. total: the number of images equals that of the real train images, so each alpha has fewer real ones."""
    arms: dict[ArmName, dict[str, Any]] = {}
    """Alternatives by name, each with what it changes in `train`; without synthetic images unless it sets alpha:
    {oversampling: {balance: oversample}, class_weights: {balance: class_weights}}."""
