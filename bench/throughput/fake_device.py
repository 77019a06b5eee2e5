"""A fake device: it sleeps for the duration of a batch and returns photographs from memory.

Importing this module registers the device. Unpickling its settings in an actor imports it.
"""

import os
import time
from collections.abc import Hashable, Sequence
from typing import Literal

from bench.throughput.frames import photographs
from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.config.spec import PlanSpec, Spec
from engine.generators.generator import Images, ModelFacts, Request
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.run.plan import make_plan
from engine.run.run import Run
from engine.run.run_context import RunContext
from shards.storage.open_store import open_store
from shards.storage.store import Store

DISTINCT = 16
"""Number of photographs of a device."""


class FakeSettings(TextToImageSettings):
    """The settings of a fake device.

    seconds: duration of a batch. side: pixels of both sides.
    log:     file to which each batch appends a line with its first seed.
    """

    kind: Literal["fake-device"] = "fake-device"  # type: ignore[assignment]
    source: str = "fake"
    seconds: float = 0.05
    side: int = 256
    log: str | None = None


class FakeDevice:
    """A generator whose images are a few photographs, chosen by the seed."""

    facts = ModelFacts("fake device", "1", "apache-2.0", "FakePipeline", "FakeScheduler", "{}", (), 1)

    def __init__(self, model: FakeSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        self._model, self.batch_size = model, model.batch_size
        self._frames = photographs(DISTINCT, model.side)
        self.device = f"fake device, {1000 * model.seconds:g} ms a batch"

    def batch_key(self, request: Request) -> Hashable:
        return ()

    def generate(self, requests: Sequence[Request]) -> Images:
        end = time.perf_counter() + self._model.seconds
        if self._model.log is not None:
            self._log_batch(requests[0].seed)
        pixels = self._frames[[request.seed % DISTINCT for request in requests]]
        time.sleep(max(0.0, end - time.perf_counter()))
        return Images(pixels)

    def _log_batch(self, seed: int) -> None:
        file = os.open(str(self._model.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, f"{seed}\n".encode())  # a single write keeps lines of several actors intact
        finally:
            os.close(file)


GENERATORS.register(FakeSettings, FakeDevice)


def fake_run(place: str | Store, images: int, output: OutputSpec, cluster: ClusterSpec, model: FakeSettings) -> Run:
    """Return a run of `images` images of ten classes on the fake device."""
    names = tuple(f"class {number}" for number in range(10))
    spec = Spec(
        name="fake device", classes=names, plan=PlanSpec(total=images), model=model, output=output, cluster=cluster
    )
    return Run(open_store(place), RunContext(spec, make_plan(spec, names, [0] * len(names))))
