"""The fast path: each of `model.optimizations` alone, and all together, beside none. The runner runs in one process."""

import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from bench.throughput.architectures import ARCHITECTURES
from bench.throughput.digits import SOURCE, STEPS
from bench.throughput.local import Local
from bench.throughput.models import Models
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, not_run, paired
from bench.throughput.turbo import NAME
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.models.devices import auto_dtype
from shards.storage.retries import first_line

ROUNDS, GPU_SECONDS, CPU_SECONDS = 3, 2.0, 6.0
_LOAD_S, _ROUND_FACTOR = 120.0, 1.3
"""Time to load and compile one more model; duration of a round as a multiple of the seconds asked for."""
_CPU_BATCH = 64

Variants = Mapping[str, dict[str, Any]]
"""Model settings by the name of what they enable. `none` enables nothing."""


def on_gpu(options: Options, models: Models) -> Iterator[Row]:
    """Measure SD-Turbo, for which the host is most likely the bottleneck."""
    architecture = options.pick(ARCHITECTURES[NAME], ARCHITECTURES[NAME].small())
    variants = gpu_variants(str(models.tiny_vae(architecture)))
    settings = {name: models.settings(architecture, **changes) for name, changes in variants.items()}
    yield from _measure(options, f"{NAME}, batch {architecture.batch}, bf16", settings, GPU_SECONDS)


def measure(options: Options) -> Iterator[Row]:
    """Measure the embedded model on one core."""
    usual = {"source": SOURCE, "steps": STEPS, "batch_size": options.pick(_CPU_BATCH, 8)}
    settings = {
        name: TextToImageSettings.model_validate({**usual, **changes}) for name, changes in cpu_variants().items()
    }
    yield from _measure(options, f"embedded digits, {STEPS} steps, batch {usual['batch_size']}", settings, CPU_SECONDS)


def _measure(
    options: Options, setting: str, variants: Mapping[str, TextToImageSettings], seconds: float
) -> Iterator[Row]:
    loaded: dict[str, Local] = {}
    for name, model in variants.items():
        workload = f"{setting}: {name}"
        if options.quick and model.optimizations.compile != "none":
            continue
        if options.left < _LOAD_S + _ROUND_FACTOR * ROUNDS * seconds * (len(loaded) + 1):
            yield not_run("fast path", workload, OURS, f"{options.left:.0f} s were left")
            continue
        try:
            loaded[name] = Local(options.folder, model, options.device)
        except Exception as error:  # unsupported by the device, out of memory, or a package is missing or fails
            traceback.print_exc()
            yield not_run("fast path", workload, OURS, first_line(error))
    systems = {name: partial(_rate, local, options.pick(seconds, 0.01)) for name, local in loaded.items()}
    if "none" not in systems:  # there is no baseline
        return
    rates = by_turns(systems, options.pick(ROUNDS, 1))
    for name, variant_rates in rates.items():
        ratio = paired(variant_rates, rates["none"])
        yield Row("fast path", f"{setting}: {name}", OURS, "images/s", tuple(variant_rates), ratio, "none of the steps")


def _rate(local: Local, seconds: float) -> float:
    return local.rate(seconds).images


def cpu_variants() -> Variants:
    """Return the variants that a CPU supports."""
    none = {"dtype": "fp32", "optimizations": _NONE}
    auto = auto_dtype("cpu")
    dtype: Variants = {} if auto == "fp32" else {f"{auto} alone": {"dtype": auto, "optimizations": _NONE}}
    return {
        "none": none,
        **{f"{name} alone": {**none, "optimizations": {**_NONE, **changes}} for name, changes in _ALONE.items()},
        **dtype,
        "channels_last, packed_weights": {
            **none,
            "optimizations": {**_NONE, "channels_last": True, "packed_weights": True},
        },
        f"{auto}, channels_last, packed_weights, cache_text_embeddings (the defaults)": {},
        "the defaults and compile": {"optimizations": {"compile": "default"}},
    }


def gpu_variants(tiny_vae: str) -> Variants:
    """Return the variants that a GPU supports, in one dtype."""
    alone = {**_ALONE, "overlap_copies": {"overlap_copies": True}, "fp8": {"fp8": True}}
    return {
        "none": {"optimizations": _NONE},
        **{f"{name} alone": {"optimizations": {**_NONE, **changes}} for name, changes in alone.items()},
        "tiny VAE alone": {"optimizations": _NONE, "vae": tiny_vae},
        "channels_last, cache_text_embeddings, overlap_copies (the defaults)": {},
        "the defaults and compile": {"optimizations": {"compile": "default"}},
        "the defaults, compile and CUDA graphs": {"optimizations": {"compile": "reduce-overhead"}},
        "the defaults, compile and tiny VAE": {"optimizations": {"compile": "default"}, "vae": tiny_vae},
        "the defaults, compile, tiny VAE and fp8": {
            "optimizations": {"compile": "default", "fp8": True},
            "vae": tiny_vae,
        },
    }


_NONE = {"channels_last": False, "packed_weights": False, "cache_text_embeddings": False, "overlap_copies": False}
_ALONE: Variants = {
    "channels_last": {"channels_last": True},
    "cache_text_embeddings": {"cache_text_embeddings": True},
    "decode_batch 8": {"decode_batch": 8},
    "compile": {"compile": "default"},
}
