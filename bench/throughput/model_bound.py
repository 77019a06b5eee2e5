"""B1: images to shards through Ray, beside a loop that only denoises and decodes, in the same kind of process.

Ours is timed from the first lease to the last commit: the start of Ray, loading and one batch that warms up are in
neither. The driver has the other core, as it has in a cluster.
"""

import os
import time
from collections.abc import Iterator, Sequence
from itertools import count
from threading import Thread
from typing import Any

from bench.throughput.digits import FOLDER, STEPS, digits_run
from bench.throughput.fake_device import FakeDevice, FakeSettings, fake_run
from bench.throughput.plain import BareLoop, Model
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, beside
from bench.throughput.slices import SLICE_S, Sliced, by_slices
from engine.devices import auto_dtype
from engine.generators.base import Request
from engine.memory import keep_memory
from engine.prompts import Prompt
from engine.run import Run
from engine.spec.cluster import ClusterSpec
from engine.spec.output import ImageSpec, OutputSpec

IMAGES, PER_SHARD = 2_000, 400
ROUNDS, FAKE_ROUNDS = 5, 4
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
    """Both in slices of a second: the model keeps a core busy, and what other machines take of it comes and goes."""
    model = Model(FOLDER, STEPS, dtype=auto_dtype("cpu"))
    rates: dict[str, list[float]] = {OURS: [], _LOOP: []}
    for number in range(options.pick(ROUNDS, 1)):
        run = digits_run(
            options.folder / f"digits-{number}", images, per_shard, model={"batch_size": BATCH}, cluster=ONE
        )
        for name, seconds in zip(rates, _sliced(run, model, images, number % 2 == 0), strict=True):
            rates[name].append(images / seconds)
        print(f"  round {number + 1}: " + ", ".join(f"{name}: {rates[name][-1]:,.4g}" for name in rates), flush=True)
    named = f"embedded digits, {model.dtype}, batch {BATCH}, one core: {images:,} images through Ray"
    yield from beside("B1", named, rates, {_LOOP: TARGET}, note=f"both in slices of {SLICE_S:g} s")


class _Bare(BareLoop):
    """In an actor, with the memory of the host as ours has it: what that brings is not to hide what ours loses."""

    def __init__(self, model: Model) -> None:
        keep_memory()
        super().__init__(model, "the digit 7", BATCH)

    def pid(self) -> int:
        return os.getpid()

    def run(self, images: int) -> float:
        """When so many were made, by the monotonic clock."""
        self.rate(images)
        return time.monotonic()


def _sliced(run: Run, model: Model, images: int, first: bool) -> tuple[float, float]:
    """Seconds that ours and the bare loop had until so many images were made. first: whether ours begins."""
    import ray

    from bench.throughput.drive import Driven, drive

    # Without a core of its own in Ray's books: only one of the two works at a time.
    bare = ray.remote(num_cpus=0)(_Bare).remote(model)
    bare_pid, both, threads = ray.get(bare.pid.remote()), list[Sliced](), list[Thread]()

    def begins(pids: Sequence[int]) -> None:
        began, made = time.monotonic(), bare.run.remote(images)
        both.append(Sliced(pids[0], began, lambda: driven.ended if driven.images == images else None))
        both.append(Sliced(bare_pid, began, lambda: ray.get(made) if ray.wait([made], timeout=0)[0] else None))
        threads.append(Thread(target=by_slices, args=both if first else both[::-1]))
        threads[0].start()

    driven = Driven(begins=begins)
    drive(run, driven)
    threads[0].join()
    ray.kill(bare)
    return both[0].seconds(), both[1].seconds()


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
