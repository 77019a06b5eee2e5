"""The `cluster` section of a spec: actors, their devices, and retries."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.config.strict import Count, Strict


class ClusterSpec(Strict):
    """The actors of a run. Only the kind of GPU, and without a GPU cpus_per_actor, can change a byte of the result."""

    min_actors: Count = 1
    """Actors that are asked for at the start. They may wait for an autoscaler."""
    max_actors: Count | None = None
    """Most actors. All are asked for at once, so an autoscaler starts nodes for them; None: as many as fit."""
    gpus_per_actor: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of an actor. A fraction shares a GPU; 0 computes on the CPU."""
    accelerator_type: str | None = None
    """Kind of GPU by Ray's name, such as H100, A100, L4 or T4; None: any. Equal kinds make equal bytes."""
    cpus_per_actor: Count = 1
    """Cores of an actor, and its torch threads on a CPU."""
    unit_attempts: Count = 3
    """Failures that are charged to a unit before it is quarantined."""
    unit_timeout_s: Annotated[float, Field(gt=0)] = 10_800.0
    """Seconds that a unit may take, without the loading of the model; then its actor is killed."""
    best_effort_commit: bool = False
    """Accept an object store that cannot refuse to overwrite a file. Two drivers at once may then mix files."""
    trusted: bool = False
    """Join a cluster whose dashboard lets everyone run code, or whose job shows a secret."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_actors is not None and self.max_actors < self.min_actors:
            raise ValueError(f"max_actors {self.max_actors} is less than min_actors {self.min_actors}")
        if self.gpus_per_actor > 1 and self.gpus_per_actor % 1:
            raise ValueError("gpus_per_actor above 1 must be a whole number")
        if self.accelerator_type is not None and self.gpus_per_actor == 0:
            raise ValueError("accelerator_type needs gpus_per_actor above 0: without it no GPU is used")
        return self
