"""B4: the share of the GPU's matrix peak that each model uses when the runner writes images to shards.

The operations of a model are counted. The peak is measured on the same GPU just before.
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
"""Images per second of SDXL 1024, 20 steps with guidance, on an H200: our target, and the MLPerf record in fp8."""
EAGER_S, COMPILED_S = 90.0, 130.0
"""Time that a model may take to load, compile and measure. With less time left it is skipped."""
ORDER = ("SD-Turbo 512", "SDXL 1024", "Z-Image-Turbo 1024", "SD1.5 512", "SDXL-Turbo 512")
"""The most important first."""
QUICK = ("SDXL 1024", "Z-Image-Turbo 1024")


def eager(options: Options, models: Models) -> Iterator[Row]:
    """Yield the peak and all models without a compiler."""
    yield Row("B4", f"bf16 matrix products on {options.device}", "torch.mm", "TFLOP/s", tuple(_peak(options)))
    for name in options.pick(ORDER, QUICK):
        yield from _measure(name, "eager", {}, EAGER_S, options, models)


def compiled(options: Options, models: Models, names: Sequence[str]) -> Iterator[Row]:
    """Yield models whose networks are compiled. Compiling takes a minute each, so a quick command has none."""
    for name in options.pick(tuple(names), ()):
        yield from _measure(name, "compiled", {"compile": "default"}, COMPILED_S, options, models)


@cache
def _peak(options: Options) -> list[float]:
    return peak_tflops(options)


def _measure(
    name: str, step: str, optimizations: dict[str, Any], least_s: float, options: Options, models: Models
) -> Iterator[Row]:
    architecture = options.pick(ARCHITECTURES[name], ARCHITECTURES[name].small())
    steps, guidance, batch = architecture.steps, architecture.guidance, architecture.batch
    workload = f"{name}, {steps} steps, guidance {guidance:g}, batch {batch}, bf16, {step}"
    if options.left < least_s:
        yield not_run("B4", workload, OURS, f"{options.left:.0f} s were left, and it may take {least_s:.0f}")
        return
    try:
        settings = models.settings(architecture, **({"optimizations": optimizations} if optimizations else {}))
        yield from _measure_loaded(workload, architecture, settings, median(_peak(options)), options)
    except Exception as error:  # an error of one model must not stop the others
        traceback.print_exc()
        yield not_run("B4", workload, OURS, first_line(error))
    _free()


def _measure_loaded(
    workload: str, architecture: Architecture, settings: Any, peak: float, options: Options
) -> Iterator[Row]:
    local = Local(options.folder, settings, options.device)
    measured = [local.rate(options.pick(SECONDS, 0.01)) for _ in range(options.pick(ROUNDS, 1))]
    note = f"the first batches took {local.warm_s:.0f} s"
    del local
    yield from _rows(workload, architecture, measured, peak, note)


def _rows(workload: str, architecture: Architecture, measured: list[Rate], peak: float, note: str) -> Iterator[Row]:
    """Yield the share of the peak for whole images, and for the denoiser alone if its time is known."""
    rates, stages = [rate.images for rate in measured], measured[-1].stages
    target = TRANSFORMER if architecture.family == "z-image" else UNET
    image_tflop, denoiser_tflop = flops.of_image(architecture), architecture.forwards * flops.of_denoiser(architecture)
    baseline = f"of the measured peak, {peak:,.0f} TFLOP/s, at {image_tflop:,.3g} TFLOP an image"
    yield Row("B4", workload, OURS, "images/s", tuple(rates), median(rates) * image_tflop / peak, baseline, None, note)
    if stages["denoise"]:
        share = architecture.batch * denoiser_tflop / peak / stages["denoise"]
        stage_times = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in stages.items() if seconds)
        note = f"milliseconds of a batch: {stage_times}"
        baseline = f"of the measured peak, at {denoiser_tflop:,.3g} TFLOP an image"
        name = "transformer" if architecture.family == "z-image" else "UNet"
        rate = architecture.batch / stages["denoise"]
        yield Row("B4", f"{workload}: {name} alone", OURS, "images/s", (rate,), share, baseline, target, note)
    if architecture.name == "SDXL 1024":
        yield at_least("B4", workload, rates, "images/s", SDXL_RATE, f"MLPerf's record in fp8 on an H200 is {RECORD}")


def _free() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
