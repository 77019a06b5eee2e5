"""B3: an experienced user's loop and other libraries, with the same model, batch size, images and cores."""

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
"""More of both, because the two systems are close to each other."""
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
    setting = f"embedded digits, {STEPS} steps, {model.dtype}, batch {BATCH}, JPEG, {cores} cores"
    workload = f"{setting}: {images:,} images"
    connect(cores)
    try:
        systems: dict[str, Callable[[], float]] = {OURS: partial(_ours, options, cores, images, per_shard, count())}
        for name, peer in _peers(model, cores).items():
            try:
                peer(cores * BATCH)  # loads the model, warms up, and fails if the peer does not run here
            except (OSError, RuntimeError, ray.exceptions.RayError) as error:
                yield not_run("B3", workload, name, str(error).strip().splitlines()[-1])
            else:
                systems[name] = partial(peer, images)
        rates = by_turns(systems, rounds)
        yield from beside("B3", workload, rates, {name: TARGET for name in rates if name != OURS})
        yield from _compare_split(options, setting, model, cores, per_shard)
    finally:
        ray.shutdown()


def _compare_split(options: Options, setting: str, model: Model, cores: int, per_shard: int) -> Iterator[Row]:
    """Compare with accelerate in slices, because both keep all cores busy and the speed of a shared machine varies."""
    from bench.throughput.drive import drive_by_slices

    images, rounds = options.pick((SPLIT_IMAGES, SPLIT_ROUNDS), (64, 1))
    workload = f"{setting}: {images:,} images"

    def measure_round(number: int) -> list[float]:
        run = _run(options.folder / f"beside-split-{number}", cores, images, per_shard)
        with Split(model, cores, BATCH, images) as split:
            seconds = drive_by_slices(run, images, lambda: [split.begin()], number)
        return [images / system_seconds for system_seconds in seconds]

    try:
        rates = together((OURS, SPLIT), rounds, measure_round)
    except ChildProcessError as error:
        yield not_run("B3", workload, SPLIT, str(error))
    else:
        yield from beside("B3", workload, rates, {SPLIT: TARGET}, note=f"in slices of {SLICE_S:g} s")


def _peers(model: Model, cores: int) -> dict[str, Callable[[int], float]]:
    """Return functions that generate a number of images and return their rate, by the name of the peer.

    model: with one thread, for peers that start a process per core.
    """
    import ray

    from bench.throughput.peers import ray_data

    all_cores = replace(model, threads=cores)
    batched = ray.remote(num_cpus=0)(Loop).remote(all_cores, BATCH, "jpg")

    @cache
    def dreamer() -> Any:
        place = datadreamer.install(ROOT / ".bench" / "throughput")
        return ray.remote(num_cpus=0)(DataDreamer).remote(str(place), all_cores, BATCH)

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
