"""The actor: one model on one device, making unit after unit."""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray

from engine.errors import ModelError
from engine.inputs import stored_inputs
from engine.memory import free_memory, out_of_memory
from engine.recipe import Recipe
from shards.stats import Stats
from shards.store import Store

if TYPE_CHECKING:
    from engine.generators.base import Generator


class UnitMaker:
    """Loads the model once and makes the units that it is leased.

    Where a batch does not fit into the device's memory it loads the model for batches of half that size, begins the
    unit anew, and stays at that size.
    """

    def __init__(self, recipe: Recipe, store: Store) -> None:
        self._recipe, self._store = recipe, store
        self._batch_size = recipe.spec.model.fixed_batch_size()
        self._loaded: Generator | None = None

    def node(self) -> str:
        """Id of the node that it is on. Called before `load`, and so known also where that fails."""
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> str:
        """Load the model and say on what. Apart from the constructor, so that its error arrives as it is."""
        return self._generator().device

    def make(self, number: int) -> Stats:
        """Make one unit, see `run_unit`; all of it in batches of the size that its stats name."""
        while (stats := self._make(number)) is None:
            self._resize(self._batch_size // 2)
        return stats

    def time_batch(self) -> float:
        """Seconds for one batch of the plan's first slots; another one before it warms up. Raises ModelError."""
        from engine.runner import time_batch

        try:
            return time_batch(self._recipe, self._generator())
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise ModelError(
                f"model.batch_size: {self._batch_size} images at once do not fit into the device's memory; a run would "
                "fall to smaller batches by itself, and wastes no time with a smaller one in the spec"
            ) from None

    def rate(self, batch_size: int) -> float | None:
        """Images per second in batches of this size, see `unit_rate`; None where the device has no room for one.
        Without torch.compile, which would take minutes for each size."""
        from torch.compiler import set_stance

        from engine.batchsize import unit_rate

        if batch_size != self._batch_size:
            self._resize(batch_size)
        try:
            with set_stance("force_eager"):
                generator = self._generator()
                return unit_rate(self._recipe, generator)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return None

    def _make(self, number: int) -> Stats | None:
        """None where the device has no room for a batch of several images; nothing was published then."""
        from engine.runner import run_unit

        try:
            return run_unit(self._recipe, number, self._generator(), self._store / "shards")
        except RuntimeError as error:
            if not out_of_memory(error) or self._batch_size == 1:
                raise
        return None  # once the error is gone, for it holds the frames, and these hold the batch

    def _resize(self, batch_size: int) -> None:
        """Loaded anew at the next need: the shape in which texts are encoded is part of the result as well."""
        self._batch_size = batch_size
        self._loaded = None
        free_memory()

    def _generator(self) -> "Generator":
        from engine.generators.kinds import load_generator

        if self._loaded is None:
            spec = self._recipe.spec
            inputs = stored_inputs(self._recipe.inputs.digests, spec, self._store / "inputs")
            self._recipe = replace(self._recipe, inputs=inputs)
            model = spec.model.with_batch_size(self._batch_size)
            self._loaded = load_generator(model, spec.output.image, spec.cluster)
        return self._loaded


def start_maker(recipe: Recipe, store: Store, avoided: Collection[str] = ()) -> Any:
    """Ask Ray for a UnitMaker of the run at `store`, on another node than those avoided, by their ids.

    Ray never restarts it: one that came back after its replacement would be a second.
    """
    cluster = recipe.spec.cluster
    options: dict[str, Any] = {
        "num_gpus": cluster.gpus_per_actor,
        "num_cpus": cluster.cpus_per_actor,
        "accelerator_type": cluster.accelerator_type,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    if avoided:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"}
    return ray.remote(UnitMaker).options(**options).remote(recipe, store)
