"""First of all: is what the device makes right? The embedded model in every dtype, beside fp32 on a CPU."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bench.throughput.determinism import pixels
from bench.throughput.digits import STEPS, digits_run
from bench.throughput.rounds import Options
from bench.throughput.row import OURS, Row, at_most
from engine.generators.generator import load_generator
from shards.codec import Pixels

TOLERANCES = {"fp32": 0.5, "fp16": 1.0, "bf16": 2.0}
"""The mean difference of an image to that of a CPU in fp32 that is allowed, of 255 levels. bf16 keeps 8 bits of a
number, and errors add up over the steps of denoising."""
BATCH = 16


def measure(options: Options) -> Iterator[Row]:
    threads = torch.get_num_threads()
    truth = _made(options, "fp32", "cpu")
    torch.set_num_threads(threads)  # a generator on a CPU takes as many as its actor has cores
    for dtype in options.pick(tuple(TOLERANCES), ("bf16",)):
        allowed = TOLERANCES[dtype]
        made, again = (_made(options, dtype, options.device) for _ in range(2))
        workload = f"embedded digits, {STEPS} steps, {dtype} on {options.device}"
        apart = np.abs(made.astype(np.int16) - truth).mean(axis=(1, 2, 3))
        note = f"the largest difference of any value is {np.abs(made.astype(np.int16) - truth).max()}"
        beside = f"{workload}: beside fp32 on a CPU"
        yield at_most("first", beside, [float(apart.max())], "of 255 levels, the worst mean", allowed, note)
        equal = float(np.mean([np.array_equal(one, other) for one, other in zip(made, again, strict=True)]))
        workload += ": made twice"
        yield Row("first", workload, OURS, "images equal", (equal * BATCH,), equal, "all, byte by byte", 1.0)


def _made(options: Options, dtype: str, device: str) -> Pixels:
    """One batch. Raises AssertionError where a number overflowed."""
    cluster: dict[str, Any] = {"gpus_per_actor": float(device == "cuda")}
    model = {"batch_size": BATCH, "dtype": dtype}
    place = options.folder / f"precision-{dtype}-{device}"
    run = digits_run(place, BATCH, BATCH, model=model, cluster=cluster)
    spec, plan = run.context.spec, run.context.plan
    generator = load_generator(spec.model, spec.output.image, spec.cluster)
    requests = [run.context.request(slot, 0) for slot in plan.slots(plan.unit(0))]
    refused = generator.generate(requests).images().refused
    assert not any(refused), f"{dtype} on {device}: {refused}"
    return pixels(generator, requests)
