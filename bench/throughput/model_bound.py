"""B1: images to shards through Ray, beside a loop that only denoises and decodes in the same kind of process.

Ours is timed from the first assignment to the last commit. Starting Ray, loading the model and the warm-up batch are
not timed in either system. The driver has the other core, as in a cluster.
"""

import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

from bench.throughput.digits import FOLDER, STEPS, digits_run
from bench.throughput.fake_device import FakeDevice, FakeSettings, fake_run
from bench.throughput.plain import BareLoop, Model
from bench.throughput.rounds import Options, by_turns, together
from bench.throughput.row import OURS, Row, beside
from bench.throughput.slices import SLICE_S, Sliced
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.generators.generator import Request
from engine.models.devices import auto_dtype, keep_freed_memory
from engine.run.run import Run
from engine.types import Prompt

IMAGES, PER_SHARD = 2_000, 400
ROUNDS, FAKE_ROUNDS = 9, 8
BATCH, FAKE_BATCH = 50, 16
FAKE_S = 0.05
TARGET = 0.97
_BARE = "bare loop, no output"
_BARE_KEEPING_MEMORY = "bare loop, no output, keeping its memory as ours does"


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import connect

    images, per_shard = options.pick((IMAGES, PER_SHARD), (400, 200))
    connect(2)
    try:
        yield from _measure_embedded(options, images, per_shard)
        yield from _measure_fake(options, images, per_shard)
    finally:
        ray.shutdown()


ONE_ACTOR = {"min_actors": 1, "max_actors": 1, "cpus_per_actor": 1}


class BareDevice:
    """A loop over the fake device."""

    def __init__(self, model: FakeSettings) -> None:
        self._device = FakeDevice(model, ImageSpec(), ClusterSpec())

    def rate(self, images: int) -> float:
        """Generate this many images; return the images per second."""
        size = self._device.batch_size
        requests = [Request(Prompt("", "", (), ""), 0, "", seed) for seed in range(size)]
        began = time.perf_counter()
        for _ in range(images // size):
            self._device.generate(requests).images()
        return images // size * size / (time.perf_counter() - began)


def _measure_embedded(options: Options, images: int, per_shard: int) -> Iterator[Row]:
    """Compare with the embedded model in slices, because the speed of a shared machine varies."""
    model = Model(FOLDER, STEPS, dtype=auto_dtype("cpu"))

    def measure_round(number: int) -> list[float]:
        place = options.folder / f"digits-{number}"
        run = digits_run(place, images, per_shard, model={"batch_size": BATCH}, cluster=ONE_ACTOR)
        return [images / seconds for seconds in _run_sliced(run, model, images, number)]

    rates = together((OURS, _BARE, _BARE_KEEPING_MEMORY), options.pick(ROUNDS, 1), measure_round)
    workload = f"embedded digits, {model.dtype}, batch {BATCH}, one core: {images:,} images through Ray"
    yield from beside("B1", workload, rates, {_BARE: TARGET}, note=f"in slices of {SLICE_S:g} s")


class _BareActor(BareLoop):
    """A bare loop in an actor. keep_memory: keep freed memory for reuse, as our actors do."""

    def __init__(self, model: Model, keep_memory: bool) -> None:
        if keep_memory:
            keep_freed_memory()
        super().__init__(model, "the digit 7", BATCH)

    def pid(self) -> int:
        return os.getpid()

    def run(self, images: int) -> float:
        """Generate this many images; return the end by the monotonic clock."""
        self.rate(images)
        return time.monotonic()


def _run_sliced(run: Run, model: Model, images: int, first: int) -> list[float]:
    """Run ours and both bare loops in slices; return the seconds that each had. first: index of the first system."""
    import ray

    from bench.throughput.drive import drive_by_slices

    # The loops reserve no cores in Ray, because only one system works at a time.
    actor = ray.remote(num_cpus=0)(_BareActor)
    loops = [actor.remote(model, keep_memory) for keep_memory in (False, True)]
    pids = ray.get([loop.pid.remote() for loop in loops])

    def begin() -> list[Sliced]:
        ends = [partial(_result_if_ready, loop.run.remote(images)) for loop in loops]
        return [Sliced([pid], time.monotonic(), end) for pid, end in zip(pids, ends, strict=True)]

    seconds = drive_by_slices(run, images, begin, first)
    for loop in loops:
        ray.kill(loop)
    return seconds


def _result_if_ready(ref: Any) -> float | None:
    import ray

    return float(ray.get(ref)) if ray.wait([ref], timeout=0)[0] else None


def _fake_run(place: Any, images: int, per_shard: int, model: FakeSettings) -> Run:
    output = OutputSpec(samples_per_shard=per_shard, image=ImageSpec(format="jpg"))
    return fake_run(place, images, output, ClusterSpec(**ONE_ACTOR), model)


def _measure_fake(options: Options, images: int, per_shard: int) -> Iterator[Row]:
    """Compare with the fake device in turn. Slices would be wrong, because its sleep continues while it is stopped."""
    import ray

    from bench.throughput.drive import Driven, drive

    fake, numbers = FakeSettings(seconds=FAKE_S, batch_size=FAKE_BATCH), count()
    bare = ray.remote(num_cpus=0)(BareDevice).remote(fake)

    def ours() -> float:
        driven = drive(_fake_run(options.folder / f"fake-{next(numbers)}", images, per_shard, fake), Driven())
        assert driven.images == images, f"{driven.images} images instead of {images}"
        return driven.rate

    rates = by_turns(
        {OURS: ours, _BARE: lambda: float(ray.get(bare.rate.remote(images)))}, options.pick(FAKE_ROUNDS, 1)
    )
    ray.kill(bare)
    workload = f"a fake device of {1000 * FAKE_S:g} ms a batch of {FAKE_BATCH}, 256x256 JPEG: {images:,} images"
    yield from beside("B1", workload, rates, {_BARE: TARGET})
