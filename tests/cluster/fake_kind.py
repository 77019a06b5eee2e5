"""A kind of generator that needs no model, for actors of real clusters. Importing it, as unpickling its settings does,
makes it known."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS, ModelSettings
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.config.spec import PlanSpec, Spec
from engine.errors import ModelError
from engine.generators.generator import Images, Request
from engine.models.devices import device_is_lost
from engine.run.plan import make_plan
from engine.run.run import Run
from engine.run.run_context import RunContext
from shards.storage.open_store import open_store
from tests.engine.fakes import FakeGenerator

BROKEN = "SHARDMILL_TEST_BROKEN_NODE"
"""Set in the environment of a node where it cannot be loaded."""
SICK = "SHARDMILL_TEST_SICK_NODE"
"""Set in that of a node where it makes one unit and no more: the text of the error."""
SIGN = "SHARDMILL_TEST_SIGN"
"""Set in that of a sick node and others: a path where it tells that it failed twice in a row, for which they wait."""
_BATCHES = 4
"""Of a unit."""


class FakeSettings(ModelSettings):
    """fits: largest batch that the device has memory for. survives: largest that does not end the process, as a host
    does that runs out of memory. seconds: that a batch takes."""

    kind: Literal["fake"] = "fake"  # type: ignore[assignment]
    source: str = "fake"
    # Excluded from the plan's digest: these are properties of a device, not of the images.
    fits: int = Field(1000, exclude=True)
    survives: int = Field(1000, exclude=True)
    seconds: float = Field(0.0, exclude=True)


class Fake(FakeGenerator):
    """Says in the stats on which node it is, and like a real one makes other images in batches of another size."""

    def __init__(self, model: FakeSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        if BROKEN in os.environ:
            raise ModelError("the driver of this node's GPU is broken")
        super().__init__(model.batch_size)
        self._model, self.device, self._made = model, _node(), 0

    def generate(self, requests: Sequence[Request]) -> Images:
        if len(requests) > self._model.survives:
            os._exit(1)
        if len(requests) > self._model.fits:
            import torch

            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self._made += 1
        if SICK in os.environ and self._made > _BATCHES:
            if self._made > _BATCHES + 1 or device_is_lost(RuntimeError(os.environ[SICK])):
                Path(os.environ[SIGN]).touch()
            raise RuntimeError(os.environ[SICK])
        while SIGN in os.environ and SICK not in os.environ and not Path(os.environ[SIGN]).exists():
            time.sleep(0.05)
        time.sleep(self._model.seconds)
        return Images(super().generate(requests).pixels + np.uint8(len(requests)))


GENERATORS.register(FakeSettings, Fake)


def fake_run(folder: Path, units: int, cluster: ClusterSpec, **model: float) -> Run:
    """Return a run of units of four batches each, for fakes with these settings."""
    settings = FakeSettings(batch_size=4, **model)  # type: ignore[arg-type]
    spec = Spec(
        name="x",
        classes=("cat", "dog"),
        plan=PlanSpec(total=16 * units),
        model=settings,
        output=OutputSpec(samples_per_shard=16),
        cluster=cluster,
    )
    return Run(open_store(folder), RunContext(spec, make_plan(spec, ("cat", "dog"), (0, 0))))


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else "no node"
