"""B1: images to shards through Ray, beside a loop that only denoises and decodes, in the same kind of process.

Ours is timed from the first assigned unit to the last commit: the start of Ray, loading and one warm-up batch are in
neither. The driver has the other core, as it has in a cluster.
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
_LOOP = "bare loop, no output"
_KEEPING = "bare loop, no output, keeping its memory as ours does"


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import connect

    images, per_shard = options.pick((IMAGES, PER_SHARD), (400, 200))
    connect(2)
    try:
        yield from _embedded(options, images, per_shard)
        yield from _fake(options, images, per_shard)
    finally:
        ray.shutdown()


ONE = {"min_actors": 1, "max_actors": 1, "cpus_per_actor": 1}


class BareDevice:
    """The fake device in a loop."""

    def __init__(self, model: FakeSettings) -> None:
        self._device = FakeDevice(model, ImageSpec(), ClusterSpec())

    def rate(self, images: int) -> float:
        """Images per second over so many."""
        size = self._device.batch_size
        requests = [Request(Prompt("", "", (), ""), 0, "", seed) for seed in range(size)]
        began = time.perf_counter()
        for _ in range(images // size):
            self._device.generate(requests).images()
        return images // size * size / (time.perf_counter() - began)


def _embedded(options: Options, images: int, per_shard: int) -> Iterator[Row]:
    """In slices of a second: the model keeps a core busy, and what other machines take of it comes and goes."""
    model = Model(FOLDER, STEPS, dtype=auto_dtype("cpu"))

    def measured(number: int) -> list[float]:
        place = options.folder / f"digits-{number}"
        run = digits_run(place, images, per_shard, model={"batch_size": BATCH}, cluster=ONE)
        return [images / seconds for seconds in _sliced(run, model, images, number)]

    rates = together((OURS, _LOOP, _KEEPING), options.pick(ROUNDS, 1), measured)
    named = f"embedded digits, {model.dtype}, batch {BATCH}, one core: {images:,} images through Ray"
    yield from beside("B1", named, rates, {_LOOP: TARGET}, note=f"in slices of {SLICE_S:g} s")


class _Bare(BareLoop):
    """In an actor. keeps: whether it keeps the memory that it frees, as ours does: what else ours loses."""

    def __init__(self, model: Model, keeps: bool) -> None:
        if keeps:
            keep_freed_memory()
        super().__init__(model, "the digit 7", BATCH)

    def pid(self) -> int:
        return os.getpid()

    def run(self, images: int) -> float:
        """When so many were made, by the monotonic clock."""
        self.rate(images)
        return time.monotonic()


def _sliced(run: Run, model: Model, images: int, first: int) -> list[float]:
    """Seconds that ours and both bare loops had until so many images were made; each begins another round."""
    import ray

    from bench.throughput.drive import drive_by_slices

    # Without a core of its own in Ray's books: one of them works at a time.
    actor = ray.remote(num_cpus=0)(_Bare)
    loops = [actor.remote(model, keeps) for keeps in (False, True)]
    pids = ray.get([loop.pid.remote() for loop in loops])

    def begun() -> list[Sliced]:
        made = [partial(_got, loop.run.remote(images)) for loop in loops]
        return [Sliced([pid], time.monotonic(), end) for pid, end in zip(pids, made, strict=True)]

    seconds = drive_by_slices(run, images, begun, first)
    for loop in loops:
        ray.kill(loop)
    return seconds


def _got(ref: Any) -> float | None:
    import ray

    return float(ray.get(ref)) if ray.wait([ref], timeout=0)[0] else None


def _fake_run(place: Any, images: int, per_shard: int, model: FakeSettings) -> Run:
    output = OutputSpec(samples_per_shard=per_shard, image=ImageSpec(format="jpg"))
    return fake_run(place, images, output, ClusterSpec(**ONE), model)


def _fake(options: Options, images: int, per_shard: int) -> Iterator[Row]:
    """By turns: a process that is stopped sleeps on, so slices would give it time."""
    import ray

    from bench.throughput.drive import Driven, drive

    fake, numbers = FakeSettings(seconds=FAKE_S, batch_size=FAKE_BATCH), count()
    bare = ray.remote(num_cpus=0)(BareDevice).remote(fake)

    def ours() -> float:
        driven = drive(_fake_run(options.folder / f"fake-{next(numbers)}", images, per_shard, fake), Driven())
        assert driven.images == images, f"{driven.images} images instead of {images}"
        return driven.rate

    rates = by_turns(
        {OURS: ours, _LOOP: lambda: float(ray.get(bare.rate.remote(images)))}, options.pick(FAKE_ROUNDS, 1)
    )
    ray.kill(bare)
    named = f"a fake device of {1000 * FAKE_S:g} ms a batch of {FAKE_BATCH}, 256x256 JPEG: {images:,} images"
    yield from beside("B1", named, rates, {_LOOP: TARGET})
