"""Each of `model.optimizations` alone, and all together, beside none of them: units by the runner, in one process."""

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
_NEEDED_S, _SPARE = 120.0, 1.3
"""For loading and compiling one more; what a round takes beside the seconds that it is to take."""
_CPU_BATCH = 64

Steps = Mapping[str, dict[str, Any]]
"""Settings of a model by the name of what is on in them, `none` among them."""


def on_gpu(options: Options, models: Models) -> Iterator[Row]:
    """With SD-Turbo, where the host is what is easily too slow."""
    one = options.pick(ARCHITECTURES[NAME], ARCHITECTURES[NAME].small())
    chosen = {name: models.settings(one, **changes) for name, changes in gpu_steps(str(models.tiny_vae(one))).items()}
    yield from _measure(options, f"{NAME}, batch {one.batch}, bf16", chosen, GPU_SECONDS)


def measure(options: Options) -> Iterator[Row]:
    """With the embedded model, on one core."""
    usual = {"source": SOURCE, "steps": STEPS, "batch_size": options.pick(_CPU_BATCH, 8)}
    chosen = {name: TextToImageSettings.model_validate({**usual, **changes}) for name, changes in cpu_steps().items()}
    yield from _measure(options, f"embedded digits, {STEPS} steps, batch {usual['batch_size']}", chosen, CPU_SECONDS)


def _measure(
    options: Options, workload_name: str, chosen: Mapping[str, TextToImageSettings], seconds: float
) -> Iterator[Row]:
    loaded: dict[str, Local] = {}
    for name, model in chosen.items():
        workload = f"{workload_name}: {name}"
        if options.quick and model.optimizations.compile != "none":
            continue
        if options.left < _NEEDED_S + _SPARE * ROUNDS * seconds * (len(loaded) + 1):
            yield not_run("fast path", workload, OURS, f"{options.left:.0f} s were left")
            continue
        try:
            loaded[name] = Local(options.folder, model, options.device)
        except Exception as error:  # the device cannot, or has no room, or a package is missing or asserts something
            traceback.print_exc()
            yield not_run("fast path", workload, OURS, first_line(error))
    systems = {name: partial(_rate, local, options.pick(seconds, 0.01)) for name, local in loaded.items()}
    if "none" not in systems:  # there is nothing to be beside
        return
    rates = by_turns(systems, options.pick(ROUNDS, 1))
    for name, figures in rates.items():
        ratio = paired(figures, rates["none"])
        yield Row("fast path", f"{workload_name}: {name}", OURS, "images/s", tuple(figures), ratio, "none of the steps")


def _rate(local: Local, seconds: float) -> float:
    return local.rate(seconds).images


def cpu_steps() -> Steps:
    """Return the optimizations of a CPU, each alone and together."""
    none = {"dtype": "fp32", "optimizations": _NONE}
    auto = auto_dtype("cpu")
    dtype: Steps = {} if auto == "fp32" else {f"{auto} alone": {"dtype": auto, "optimizations": _NONE}}
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


def gpu_steps(tiny_vae: str) -> Steps:
    """Return the optimizations of a GPU in one dtype, each alone and together."""
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
_ALONE: Steps = {
    "channels_last": {"channels_last": True},
    "cache_text_embeddings": {"cache_text_embeddings": True},
    "decode_batch 8": {"decode_batch": 8},
    "compile": {"compile": "default"},
}
