"""B2: the usual loop, one prompt, one image, `.save(png)`, beside a run of ours on the same cores.

Both are warm before the clock starts. The loop uses all cores for torch's threads; ours has an actor on each core.
"""

import os
from collections.abc import Iterator
from itertools import count

from bench.throughput.digits import FOLDER, STEPS, digits_run
from bench.throughput.peers import PROMPTS
from bench.throughput.peers.loop import Loop
from bench.throughput.plain import Model
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, beside
from engine.models.devices import auto_dtype

ROUNDS, BATCH, PER_SHARD = 3, 64, 256
IMAGES, FEW = 1_536, 48
"""Images of ours and of the loop. The loop is slow, and a few images are enough for its rate."""
TARGET = 5.0
LOOP = "diffusers, one prompt at a time, PNG"


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import Driven, connect, drive

    cores, numbers = len(os.sched_getaffinity(0)), count()
    images, per_shard, few, rounds = options.pick((IMAGES, PER_SHARD, FEW, ROUNDS), (128, 64, 4, 1))
    model = Model(FOLDER, STEPS, dtype=auto_dtype("cpu"), threads=cores)
    cluster = {"min_actors": cores, "max_actors": cores}

    def ours() -> float:
        place = options.folder / f"naive-{next(numbers)}"
        run = digits_run(place, images, per_shard, model={"batch_size": BATCH}, prompts=PROMPTS, cluster=cluster)
        return drive(run, Driven()).rate

    connect(cores)
    try:
        loop = ray.remote(num_cpus=0)(Loop).remote(model, 1, "png")
        rates = by_turns({OURS: ours, LOOP: lambda: float(ray.get(loop.rate.remote(few)))}, rounds)
    finally:
        ray.shutdown()
    workload = f"embedded digits, {STEPS} steps, {model.dtype}, {cores} cores"
    note = f"ours: batch {BATCH}, an actor a core, {images:,} images; the loop: {few} images, torch on all cores"
    yield from beside("B2", workload, rates, {LOOP: TARGET}, note=note)
