"""B1: images to shards through Ray, beside a loop that only denoises and decodes, in the same kind of process.

Ours is timed from the first lease to the last commit: the start of Ray, loading and one batch that warms up are in
neither. The driver has the other core, as it has in a cluster.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

from bench.throughput.digits import FOLDER, STEPS, digits_run
from bench.throughput.fake_device import FakeDevice, FakeSettings, fake_run
from bench.throughput.plain import BareLoop, Model
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, beside
from engine.devices import auto_dtype
from engine.generators.base import Request
from engine.prompts import Prompt
from engine.run import Run
from engine.spec.cluster import ClusterSpec
from engine.spec.output import ImageSpec, OutputSpec

IMAGES, PER_SHARD = 2_000, 400
ROUNDS, FAKE_ROUNDS = 9, 4
BATCH, FAKE_BATCH = 50, 16
FAKE_S = 0.05
TARGET = 0.97
_LOOP = "bare loop, no output"


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import connect

    images, per_shard = options.pick((IMAGES, PER_SHARD), (400, 200))
    connect(2)
    try:
        # Without a core of its own in Ray's books: it waits while ours is measured.
        actor = ray.remote(num_cpus=0)
        model = Model(FOLDER, STEPS, dtype=auto_dtype("cpu"))
        digits = partial(digits_run, images=images, per_shard=per_shard, model={"batch_size": BATCH}, cluster=ONE)
        bare = actor(BareLoop).remote(model, "the digit 7", BATCH)
        named = f"embedded digits, {model.dtype}, batch {BATCH}, one core: {images:,} images through Ray"
        yield from _beside(named, options, digits, bare, images, options.pick(ROUNDS, 1))
        fake = FakeSettings(seconds=FAKE_S, batch_size=FAKE_BATCH)
        bare = actor(BareDevice).remote(fake)
        named = f"a fake device of {1000 * FAKE_S:g} ms a batch of {FAKE_BATCH}, 256x256 JPEG: {images:,} images"
        runs = partial(_fake_run, images=images, per_shard=per_shard, model=fake)
        yield from _beside(named, options, runs, bare, images, options.pick(FAKE_ROUNDS, 1))
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


def _fake_run(place: Any, images: int, per_shard: int, model: FakeSettings) -> Run:
    output = OutputSpec(samples_per_shard=per_shard, image=ImageSpec(format="jpg"))
    return fake_run(place, images, output, ClusterSpec(**ONE), model)


def _beside(
    workload: str, options: Options, make: Callable[[Any], Run], bare: Any, images: int, rounds: int
) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import Driven, drive

    numbers = count()

    def ours() -> float:
        driven = drive(make(options.folder / f"{bare._actor_id.hex()}-{next(numbers)}"), Driven())
        assert driven.images == images, f"{driven.images} images instead of {images}"
        return driven.rate

    rates = by_turns({OURS: ours, _LOOP: lambda: float(ray.get(bare.rate.remote(images)))}, rounds)
    ray.kill(bare)
    yield from beside("B1", workload, rates, {_LOOP: TARGET})
