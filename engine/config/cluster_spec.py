"""Where a run runs."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.config.strict import Count, Strict


class ClusterSpec(Strict):
    """Where it runs. Nothing here changes a byte of the result, but for cpus_per_actor where there is no GPU, and for
    the kind of GPU."""

    min_actors: Count = 1
    """Actors asked for at once; they wait for the autoscaler if need be."""
    max_actors: Count | None = None
    """Actors at most, and what an autoscaler aims at; as many as the cluster has room for if none."""
    gpus_per_actor: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of an actor; a fraction shares one; 0 computes on the CPU."""
    accelerator_type: str | None = None
    """Kind of GPU in Ray's words, like H100, A100, L4 or T4; any if none. Equal kinds make equal bytes."""
    cpus_per_actor: Count = 1
    """Cores of an actor, which are also its torch threads on a CPU."""
    unit_attempts: Count = 3
    """How often a unit may fail by its own doing before it is quarantined."""
    unit_timeout_s: Annotated[float, Field(gt=0)] = 10_800.0
    """Seconds that a unit may take, from when an actor whose model is loaded turns to it; then its process is ended."""
    best_effort_commit: bool = False
    """Go on with an object store that cannot refuse to overwrite a file. Two drivers at once may then mix files."""
    trusted: bool = False
    """Join a cluster that anyone may run code on who reaches its dashboard, or whose job shows a secret."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_actors is not None and self.max_actors < self.min_actors:
            raise ValueError(f"max_actors {self.max_actors} is less than min_actors {self.min_actors}")
        if self.gpus_per_actor > 1 and self.gpus_per_actor % 1:
            raise ValueError("gpus_per_actor above 1 must be a whole number")
        if self.accelerator_type is not None and self.gpus_per_actor == 0:
            raise ValueError("accelerator_type takes gpus_per_actor above 0: without it no GPU is used")
        return self
