"""The actor: one model on one device, making unit after unit."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from engine.recipe import Recipe
from shards.stats import Stats

if TYPE_CHECKING:
    from engine.generators.base import Generator


class UnitMaker:
    """Loads the model once and makes the units that it is leased."""

    def __init__(self, recipe: Recipe, shards: Path) -> None:
        self._recipe, self._shards = recipe, shards
        self._generator: Generator | None = None

    def load(self) -> str:
        """Load the model and say on what. Apart from the constructor, so that its error arrives as it is."""
        from engine.generators.kinds import load_generator

        spec = self._recipe.spec
        self._generator = load_generator(spec.model, spec.output.image, spec.cluster)
        return self._generator.device

    def make(self, number: int) -> Stats:
        """Make one unit, see `run_unit`."""
        from engine.runner import run_unit

        assert self._generator is not None, "load comes first"
        return run_unit(self._recipe, number, self._generator, self._shards)

    def time_batch(self) -> float:
        """Seconds for one batch of the plan's first slots; another one before it warms up."""
        from engine.runner import time_batch

        assert self._generator is not None, "load comes first"
        return time_batch(self._recipe, self._generator)


def start_maker(recipe: Recipe, shards: Path) -> Any:
    """Ask Ray for a UnitMaker. Ray never restarts it: one that came back after its replacement would be a second."""
    cluster = recipe.spec.cluster
    options = {
        "num_gpus": cluster.gpus_per_actor,
        "num_cpus": cluster.cpus_per_actor,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    return ray.remote(UnitMaker).options(**options).remote(recipe, shards.absolute())
