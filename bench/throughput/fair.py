"""B3: what an experienced user writes, and what other libraries do, with the same model, batch, images and cores."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from bench.machine import ROOT
from bench.throughput.digits import FOLDER, STEPS, digits_run
from bench.throughput.peers import PROMPTS, datadreamer
from bench.throughput.peers.datadreamer import DataDreamer
from bench.throughput.peers.loop import Loop
from bench.throughput.peers.split import Split
from bench.throughput.plain import Model
from bench.throughput.rounds import Options, by_turns, together
from bench.throughput.row import OURS, Row, beside, not_run
from bench.throughput.slices import SLICE_S
from engine.models.devices import auto_dtype
from engine.run.run import Run

BATCH, PER_SHARD = 16, 160
ROUNDS, IMAGES = 3, 640
SPLIT_ROUNDS, SPLIT_IMAGES = 9, 1_920
"""More of both, for these two are not far apart."""
TARGET = 1.0
BATCHED = "diffusers, batch 16, PIL JPEG, same thread"
SPLIT = "accelerate split_between_processes, a process a core"
RAY_DATA = "Ray Data map_batches and write_webdataset, an actor a core"
DATADREAMER = "datadreamer's image generation"


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import connect

    cores = len(os.sched_getaffinity(0))
    images, per_shard, rounds = options.pick((IMAGES, PER_SHARD, ROUNDS), (64, 32, 1))
    model = Model(FOLDER, STEPS, dtype=auto_dtype("cpu"), threads=1)
    workload = f"embedded digits, {STEPS} steps, {model.dtype}, batch {BATCH}, JPEG, {cores} cores"
    counted = f"{workload}: {images:,} images"
    connect(cores)
    try:
        systems: dict[str, Callable[[], float]] = {OURS: partial(_ours, options, cores, images, per_shard, count())}
        for name, peer in _peers(model, cores).items():
            try:
                peer(cores * BATCH)  # loads, warms up, and shows whether it runs here at all
            except (OSError, RuntimeError, ray.exceptions.RayError) as error:
                yield not_run("B3", counted, name, str(error).strip().splitlines()[-1])
            else:
                systems[name] = partial(peer, images)
        rates = by_turns(systems, rounds)
        yield from beside("B3", counted, rates, {name: TARGET for name in rates if name != OURS})
        yield from _beside_split(options, workload, model, cores, per_shard)
    finally:
        ray.shutdown()


def _beside_split(options: Options, workload: str, model: Model, cores: int, per_shard: int) -> Iterator[Row]:
    """In slices: both keep all cores busy with the same model, and what other machines take of these comes and goes."""
    from bench.throughput.drive import drive_by_slices

    images, rounds = options.pick((SPLIT_IMAGES, SPLIT_ROUNDS), (64, 1))
    workload = f"{workload}: {images:,} images"

    def measured(number: int) -> list[float]:
        run = _run(options.folder / f"beside-split-{number}", cores, images, per_shard)
        with Split(model, cores, BATCH, images) as split:
            seconds = drive_by_slices(run, images, lambda: [split.begin()], number)
        return [images / each for each in seconds]

    try:
        rates = together((OURS, SPLIT), rounds, measured)
    except ChildProcessError as error:
        yield not_run("B3", workload, SPLIT, str(error))
    else:
        yield from beside("B3", workload, rates, {SPLIT: TARGET}, note=f"in slices of {SLICE_S:g} s")


def _peers(model: Model, cores: int) -> dict[str, Callable[[int], float]]:
    """Return functions from a number of images to their rate; `model` is for `cores` processes of one thread."""
    import ray

    from bench.throughput.peers import ray_data

    whole = replace(model, threads=cores)
    batched = ray.remote(num_cpus=0)(Loop).remote(whole, BATCH, "jpg")

    @cache
    def dreamer() -> Any:
        place = datadreamer.install(ROOT / ".bench" / "throughput")
        return ray.remote(num_cpus=0)(DataDreamer).remote(str(place), whole, BATCH)

    return {
        BATCHED: lambda images: float(ray.get(batched.rate.remote(images))),
        RAY_DATA: partial(ray_data.rate, model, cores, BATCH),
        DATADREAMER: lambda images: float(ray.get(dreamer().rate.remote(images))),
    }


def _ours(options: Options, cores: int, images: int, per_shard: int, numbers: Iterator[int]) -> float:
    from bench.throughput.drive import Driven, drive

    return drive(_run(options.folder / f"fair-{next(numbers)}", cores, images, per_shard), Driven()).rate


def _run(place: Path, cores: int, images: int, per_shard: int) -> Run:
    cluster = {"min_actors": cores, "max_actors": cores}
    parts = {"model": {"batch_size": BATCH}, "prompts": PROMPTS, "output": {"image": {"format": "jpg"}}}
    return digits_run(place, images, per_shard, cluster=cluster, **parts)
