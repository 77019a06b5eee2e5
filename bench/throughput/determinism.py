"""B7: the same seeds, in order in one process, and shuffled over batches and over other processes.

With the same batch shape, every image must have the same bytes. With other shapes images may differ; the benchmark
reports by how much.
"""

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from bench.throughput.digits import STEPS, digits_run
from bench.throughput.rounds import Options
from bench.throughput.row import OURS, Row
from engine.config.spec import Spec
from engine.generators.generator import Generator, Request, load_generator
from shards.codec import Pixels

SEEDS, BATCH, OTHER_BATCHES, PROCESSES = 256, 16, (8, 64), 2


def measure(options: Options) -> Iterator[Row]:
    seeds, other_sizes, processes = options.pick((SEEDS, OTHER_BATCHES, PROCESSES), (32, (8,), 1))
    cluster = {"gpus_per_actor": float(options.device == "cuda")}
    run = digits_run(options.folder / "determinism", seeds, seeds, model={"batch_size": BATCH}, cluster=cluster)
    workload = f"embedded digits, {STEPS} steps, {options.device}, {seeds} seeds"
    yield from compare(workload, run.context.spec, _requests(run), other_sizes, processes)


def compare(
    workload: str, spec: Spec, requests: Sequence[Request], other_sizes: Sequence[int], processes: int
) -> Iterator[Row]:
    """Compare images made in order with shuffled ones, and with those of other batch sizes."""
    in_order = pixels(_load(spec, spec.model.batch_size), requests)
    order = np.random.default_rng(0).permutation(len(requests))
    shuffled = _hashes_of_processes(spec, [requests[n] for n in order], processes)
    differing = sum(hash_of(in_order[n]) != hash_ for n, hash_ in zip(order, shuffled, strict=True))
    count, size = len(requests), spec.model.batch_size
    shuffled_workload = f"{workload}, batch {size}: shuffled over batches and {processes} processes"
    equal = (count - differing) / count
    yield Row(
        "B7", shuffled_workload, OURS, "images with another SHA-256", (differing,), equal, "all images in order", 1.0
    )
    for other in other_sizes:
        yield _difference(f"{workload}: batch {other} beside {size}", in_order, pixels(_load(spec, other), requests))


def _difference(workload: str, expected: Pixels, actual: Pixels) -> Row:
    difference = np.abs(expected.astype(np.int16) - actual)
    share = float(difference.any(axis=(1, 2, 3)).mean())
    note = f"{share:.1%} of the images differ anywhere, {float(difference.astype(bool).mean()):.2%} of all values"
    return Row("B7", workload, OURS, "of 255 levels, the largest difference", (float(difference.max()),), note=note)


def pixels(generator: Generator, requests: Sequence[Request]) -> Pixels:
    """Generate the requests in this order in full batches; return their pixels."""
    size = generator.batch_size
    assert len(requests) % size == 0, f"{len(requests)} requests are no whole batches of {size}"
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    return np.concatenate([generator.generate(batch).images().pixels for batch in batches])


def hash_of(image: Pixels) -> str:
    """Return the SHA-256 of an image's pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def _requests(run: Any) -> list[Request]:
    plan = run.context.plan
    return [run.context.request(slot, 0) for slot in plan.slots(plan.unit(0))]


def _load(spec: Spec, batch_size: int) -> Generator:
    return load_generator(spec.model.with_batch_size(batch_size), spec.output.image, spec.cluster)


def _hashes_of_processes(spec: Spec, requests: Sequence[Request], processes: int) -> list[str]:
    """Generate the batches in new processes; return the hash of each image in the order of the requests."""
    size = spec.model.batch_size
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _initialize, (spec,)) as pool:
        return [hash_ for hashes in pool.map(_hashes, batches) for hash_ in hashes]


_generator: list[Generator] = []
"""The generator of a worker process. The initializer of an executor can store it only in a global."""


def _initialize(spec: Spec) -> None:
    _generator.append(_load(spec, spec.model.batch_size))


def _hashes(batch: Sequence[Request]) -> list[str]:
    return [hash_of(image) for image in pixels(_generator[0], batch)]
