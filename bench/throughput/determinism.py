"""B7: the same seeds in order in one process, and shuffled over batches and over other processes.

At one batch shape every image must be the same, byte by byte. At other shapes it need not be: how far it is from the
same is told.
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
    seeds, others, processes = options.pick((SEEDS, OTHER_BATCHES, PROCESSES), (32, (8,), 1))
    cluster = {"gpus_per_actor": float(options.device == "cuda")}
    run = digits_run(options.folder / "determinism", seeds, seeds, model={"batch_size": BATCH}, cluster=cluster)
    workload = f"embedded digits, {STEPS} steps, {options.device}, {seeds} seeds"
    yield from compare(workload, run.context.spec, _requests(run), others, processes)


def compare(
    workload: str, spec: Spec, requests: Sequence[Request], others: Sequence[int], processes: int
) -> Iterator[Row]:
    """In order beside shuffled; and beside batches of other sizes."""
    in_order = pixels(_load(spec, spec.model.batch_size), requests)
    order = np.random.default_rng(0).permutation(len(requests))
    shuffled = _elsewhere(spec, [requests[n] for n in order], processes)
    differing = sum(hash_of(in_order[n]) != digest for n, digest in zip(order, shuffled, strict=True))
    count, size = len(requests), spec.model.batch_size
    named = f"{workload}, batch {size}: shuffled over batches and {processes} processes"
    equal = (count - differing) / count
    yield Row("B7", named, OURS, "images with another SHA-256", (differing,), equal, "all images in order", 1.0)
    for other in others:
        yield _across(f"{workload}: batch {other} beside {size}", in_order, pixels(_load(spec, other), requests))


def _across(workload: str, one: Pixels, other: Pixels) -> Row:
    apart = np.abs(one.astype(np.int16) - other)
    share = float(apart.any(axis=(1, 2, 3)).mean())
    note = f"{share:.1%} of the images differ anywhere, {float(apart.astype(bool).mean()):.2%} of all values"
    return Row("B7", workload, OURS, "of 255 levels, the largest difference", (float(apart.max()),), note=note)


def pixels(generator: Generator, requests: Sequence[Request]) -> Pixels:
    """Return the pixels of requests, in this order and in full batches."""
    size = generator.batch_size
    assert len(requests) % size == 0, f"{len(requests)} requests are no whole batches of {size}"
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    return np.concatenate([generator.generate(batch).images().pixels for batch in batches])


def hash_of(image: Pixels) -> str:
    """SHA-256 of an image's values."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def _requests(run: Any) -> list[Request]:
    plan = run.context.plan
    return [run.context.request(slot, 0) for slot in plan.slots(plan.unit(0))]


def _load(spec: Spec, batch_size: int) -> Generator:
    return load_generator(spec.model.with_batch_size(batch_size), spec.output.image, spec.cluster)


def _elsewhere(spec: Spec, requests: Sequence[Request], processes: int) -> list[str]:
    """The hashes of requests in this order; their batches are dealt to new processes."""
    size = spec.model.batch_size
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, _begin, (spec,)) as pool:
        return [digest for of_batch in pool.map(_hashes, batches) for digest in of_batch]


_generator: list[Generator] = []
"""The generator of a worker process; an executor's initializer has no other place to leave it."""


def _begin(spec: Spec) -> None:
    _generator.append(_load(spec, spec.model.batch_size))


def _hashes(batch: Sequence[Request]) -> list[str]:
    return [hash_of(image) for image in pixels(_generator[0], batch)]
