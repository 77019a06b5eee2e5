"""Correctness of the device, checked first: images of the embedded model in every dtype, beside fp32 on a CPU."""

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
"""Allowed mean difference of an image from fp32 on a CPU, in levels of 255. bf16 keeps 8 bits, and errors accumulate
over the denoising steps."""
BATCH = 16


def measure(options: Options) -> Iterator[Row]:
    threads = torch.get_num_threads()
    expected = _generate(options, "fp32", "cpu")
    torch.set_num_threads(threads)  # a generator on a CPU limits the threads to its actor's cores
    for dtype in options.pick(tuple(TOLERANCES), ("bf16",)):
        allowed = TOLERANCES[dtype]
        images, repeated = (_generate(options, dtype, options.device) for _ in range(2))
        setting = f"embedded digits, {STEPS} steps, {dtype} on {options.device}"
        difference = np.abs(images.astype(np.int16) - expected)
        note = f"the largest difference of any value is {difference.max()}"
        worst_mean = float(difference.mean(axis=(1, 2, 3)).max())
        workload = f"{setting}: beside fp32 on a CPU"
        yield at_most("first", workload, [worst_mean], "of 255 levels, the worst mean", allowed, note)
        equal = float(np.mean([np.array_equal(*pair) for pair in zip(images, repeated, strict=True)]))
        workload = f"{setting}: made twice"
        yield Row("first", workload, OURS, "images equal", (equal * BATCH,), equal, "all, byte by byte", 1.0)


def _generate(options: Options, dtype: str, device: str) -> Pixels:
    """Generate one batch. Raises AssertionError if a value overflowed."""
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
