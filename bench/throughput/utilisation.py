"""B4: how much of the matrix peak of the GPU each model uses, by the runner, images to shards.

A model's operations are counted, not assumed; the peak is measured on the same GPU a moment before.
"""

import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import median
from typing import Any

from bench.throughput import flops
from bench.throughput.architectures import ARCHITECTURES, Architecture
from bench.throughput.local import Local, Rate
from bench.throughput.models import Models
from bench.throughput.peak import peak_tflops
from bench.throughput.rounds import Options
from bench.throughput.row import OURS, Row, at_least, not_run
from shards.storage.retries import first_line

ROUNDS, SECONDS = 2, 5.0
UNET, TRANSFORMER = 0.5, 0.6
SDXL_RATE, RECORD = 1.8, 2.37
"""Images per second of SDXL 1024, 20 steps with guidance, on an H200: to reach, and the MLPerf record in fp8."""
EAGER_S, COMPILED_S = 90.0, 130.0
"""The most seconds that a model takes until it is measured; with less time left it is not begun."""
ORDER = ("SD-Turbo 512", "SDXL 1024", "Z-Image-Turbo 1024", "SD1.5 512", "SDXL-Turbo 512")
"""The most telling first."""
QUICK = ("SDXL 1024", "Z-Image-Turbo 1024")


def eager(options: Options, models: Models) -> Iterator[Row]:
    """All models without a compiler, and the peak."""
    yield Row("B4", f"bf16 matrix products on {options.device}", "torch.mm", "TFLOP/s", tuple(_peak(options)))
    for name in options.pick(ORDER, QUICK):
        yield from _measured(name, "eager", {}, EAGER_S, options, models)


def compiled(options: Options, models: Models, names: Sequence[str]) -> Iterator[Row]:
    """Models whose networks are compiled; a compiler takes a minute for each, however small it is."""
    for name in options.pick(tuple(names), ()):
        yield from _measured(name, "compiled", {"compile": "default"}, COMPILED_S, options, models)


@cache
def _peak(options: Options) -> list[float]:
    return peak_tflops(options)


def _measured(
    name: str, step: str, optimizations: dict[str, Any], least_s: float, options: Options, models: Models
) -> Iterator[Row]:
    one = options.pick(ARCHITECTURES[name], ARCHITECTURES[name].small())
    workload = f"{name}, {one.steps} steps, guidance {one.guidance:g}, batch {one.batch}, bf16, {step}"
    if options.left < least_s:
        yield not_run("B4", workload, OURS, f"{options.left:.0f} s were left, and it may take {least_s:.0f}")
        return
    try:
        settings = models.settings(one, **({"optimizations": optimizations} if optimizations else {}))
        yield from _of(workload, one, settings, median(_peak(options)), options)
    except Exception as error:  # of one model, which is no reason to lose the others
        traceback.print_exc()
        yield not_run("B4", workload, OURS, first_line(error))
    _free()


def _of(workload: str, one: Architecture, settings: Any, peak: float, options: Options) -> Iterator[Row]:
    local = Local(options.folder, settings, options.device)
    measured = [local.rate(options.pick(SECONDS, 0.01)) for _ in range(options.pick(ROUNDS, 1))]
    note = f"the first batches took {local.warm_s:.0f} s"
    del local
    yield from rows(workload, one, measured, peak, note)


def rows(workload: str, one: Architecture, measured: list[Rate], peak: float, note: str) -> Iterator[Row]:
    """The share of the peak of whole images, and of the denoiser alone where its time is known."""
    rates, stages = [rate.images for rate in measured], measured[-1].stages
    target = TRANSFORMER if one.family == "z-image" else UNET
    whole, inner = flops.of_image(one), one.forwards * flops.of_denoiser(one)
    least = f"of the measured peak, {peak:,.0f} TFLOP/s, at {whole:,.3g} TFLOP an image"
    yield Row("B4", workload, OURS, "images/s", tuple(rates), median(rates) * whole / peak, least, None, note)
    if stages["denoise"]:
        shares = one.batch * inner / peak / stages["denoise"]
        spent = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in stages.items() if seconds)
        note = f"milliseconds of a batch: {spent}"
        inside = f"of the measured peak, at {inner:,.3g} TFLOP an image"
        name = "transformer" if one.family == "z-image" else "UNet"
        rate = one.batch / stages["denoise"]
        yield Row("B4", f"{workload}: {name} alone", OURS, "images/s", (rate,), shares, inside, target, note)
    if one.name == "SDXL 1024":
        yield at_least("B4", workload, rates, "images/s", SDXL_RATE, f"MLPerf's record in fp8 on an H200 is {RECORD}")


def _free() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
