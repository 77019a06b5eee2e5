"""Runs of one model in this process, without Ray: the runner makes unit after unit."""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.config.prompts_spec import PromptsSpec
from engine.config.spec import PlanSpec, Spec
from engine.generators.generator import load_generator
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.profiling import totals
from engine.run.plan import make_plan
from engine.run.run_context import RunContext
from engine.worker.runner import run_unit, time_batch

_CLASSES = tuple(f"thing {number}" for number in range(10))
_MIN_BATCHES = 2


@dataclass(frozen=True)
class Rate:
    """The result of a measurement.

    images: images per second of a whole unit.
    stages: seconds of each stage of one batch; 0.0 if the generator does not report it.
    """

    images: float
    stages: dict[str, float]


class Local:
    """A loaded and warm model. Its images go to shards as JPEG, and none is rejected."""

    def __init__(self, folder: Path, model: TextToImageSettings, device: str) -> None:
        self._folder, self._model = folder, model
        self._cluster = ClusterSpec(gpus_per_actor=float(device == "cuda"))
        self.generator: Any = load_generator(model, _IMAGE, self._cluster)
        began, context = time.monotonic(), self._context(model.batch_size)
        self._batch_s = time_batch(context, self.generator)
        self.warm_s = time.monotonic() - began
        if model.optimizations.compile == "reduce-overhead":  # CUDA graphs are recorded in the second batch
            self._batch_s = time_batch(context, self.generator)

    def rate(self, seconds: float) -> Rate:
        """Run one unit of about this duration and return its rate."""
        batches = max(_MIN_BATCHES, round(seconds / self._batch_s))
        images = batches * self._model.batch_size
        context = self._context(images)
        began = time.perf_counter()
        stats = run_unit(context, 0, self.generator, Path(mkdtemp(dir=self._folder)))
        passed = time.perf_counter() - began
        assert stats["count"] == images, f"{stats['count']} of {images} images"
        return Rate(images / passed, self._stages(context))

    def _stages(self, context: RunContext) -> dict[str, float]:
        slots = [context.plan.slot(index) for index in range(self._model.batch_size)]
        requests = [context.request(slot, 0) for slot in slots]
        before = self.generator.generate(requests)
        measured = self.generator.generate(requests)  # as in a run, the device is busy when the next batch is requested
        before.images()
        return totals(measured.images().spans)

    def _context(self, images: int) -> RunContext:
        spec = Spec(
            name="throughput",
            classes=_CLASSES,
            plan=PlanSpec(total=images),
            prompts=PromptsSpec(templates=("a photo of a {class}",)),
            filters=(),
            model=self._model,
            output=OutputSpec(samples_per_shard=images, image=_IMAGE),
            cluster=self._cluster,
        )
        return RunContext(spec, make_plan(spec, _CLASSES, [0] * len(_CLASSES)))


_IMAGE = ImageSpec(format="jpg")
