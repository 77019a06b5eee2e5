"""Each step of `model.fast` alone, and all together, beside none of them: units by the runner, in one process."""

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
    chosen = {name: models.settings(one, **given) for name, given in gpu_steps(str(models.tiny_vae(one))).items()}
    yield from _measure(options, f"{NAME}, batch {one.batch}, bf16", chosen, GPU_SECONDS)


def measure(options: Options) -> Iterator[Row]:
    """With the embedded model, on one core."""
    usual = {"source": SOURCE, "steps": STEPS, "batch_size": options.pick(_CPU_BATCH, 8)}
    chosen = {name: TextToImageSettings.model_validate({**usual, **given}) for name, given in cpu_steps().items()}
    yield from _measure(options, f"embedded digits, {STEPS} steps, batch {usual['batch_size']}", chosen, CPU_SECONDS)


def _measure(options: Options, told: str, chosen: Mapping[str, TextToImageSettings], seconds: float) -> Iterator[Row]:
    loaded: dict[str, Local] = {}
    for name, model in chosen.items():
        workload = f"{told}: {name}"
        if options.quick and model.fast.compile != "none":
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
    for name, found in rates.items():
        ratio = paired(found, rates["none"])
        yield Row("fast path", f"{told}: {name}", OURS, "images/s", tuple(found), ratio, "none of the steps")


def _rate(local: Local, seconds: float) -> float:
    return local.rate(seconds).images


def cpu_steps() -> Steps:
    """Those that a CPU has."""
    none = {"dtype": "fp32", "fast": _NONE}
    fast = auto_dtype("cpu")
    dtype: Steps = {} if fast == "fp32" else {f"{fast} alone": {"dtype": fast, "fast": _NONE}}
    return {
        "none": none,
        **{f"{name} alone": {**none, "fast": {**_NONE, **given}} for name, given in _ALONE.items()},
        **dtype,
        "channels_last, packed": {**none, "fast": {**_NONE, "channels_last": True, "packed": True}},
        f"{fast}, channels_last, packed, texts_once (the defaults)": {},
        "the defaults and compile": {"fast": {"compile": "default"}},
    }


def gpu_steps(tiny_vae: str) -> Steps:
    """Those that a GPU has, in one dtype."""
    alone = {**_ALONE, "overlap": {"overlap": True}, "fp8": {"fp8": True}}
    return {
        "none": {"fast": _NONE},
        **{f"{name} alone": {"fast": {**_NONE, **given}} for name, given in alone.items()},
        "tiny VAE alone": {"fast": _NONE, "vae": tiny_vae},
        "channels_last, texts_once, overlap (the defaults)": {},
        "the defaults and compile": {"fast": {"compile": "default"}},
        "the defaults, compile and CUDA graphs": {"fast": {"compile": "reduce-overhead"}},
        "the defaults, compile and tiny VAE": {"fast": {"compile": "default"}, "vae": tiny_vae},
        "the defaults, compile, tiny VAE and fp8": {"fast": {"compile": "default", "fp8": True}, "vae": tiny_vae},
    }


_NONE = {"channels_last": False, "packed": False, "texts_once": False, "overlap": False}
_ALONE: Steps = {
    "channels_last": {"channels_last": True},
    "texts_once": {"texts_once": True},
    "decode_batch 8": {"decode_batch": 8},
    "compile": {"compile": "default"},
}
