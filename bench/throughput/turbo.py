"""B1, B2 and B3 on a GPU, with SD-Turbo 512 and one step, where the host is most likely the bottleneck.

The runner makes the units in one process without Ray, as an actor does.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.throughput.architectures import ARCHITECTURES, Architecture
from bench.throughput.local import Local
from bench.throughput.models import Models
from bench.throughput.peers.loop import Loop
from bench.throughput.plain import BareLoop, Model
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, beside, not_run, paired

NAME = "SD-Turbo 512"
ROUNDS, SECONDS = 3, 4.0
ONE_BY_ONE, BATCHED, BATCH = 32, 128, 16
"""Images of the loop over prompts and of the loop over batches; images of a batch."""
MODEL_BOUND, NAIVE, NAIVE_TINY, FAIR = 0.95, 10.0, 25.0, 1.0
_BARE = "bare loop, no output"
_NAIVE = "diffusers, one prompt at a time, PNG"
_FAIR = "diffusers, batch 16, PIL JPEG, same thread"
_TINY = f"{OURS}, tiny VAE"


def measure(options: Options, models: Models) -> Iterator[Row]:
    architecture = options.pick(ARCHITECTURES[NAME], ARCHITECTURES[NAME].small())
    model = Model(
        models.of(architecture), architecture.steps, dtype="bf16", device=options.device, side=architecture.side
    )
    ours = Local(options.folder, models.settings(architecture, **_compile_settings(options)), options.device)
    setting = f"{NAME}, {architecture.steps} step, bf16{'' if options.quick else ', compiled'}"
    yield from _model_bound(setting, architecture, model, ours, options)
    small = Local(
        options.folder,
        models.settings(architecture, **_compile_settings(options), vae=str(models.tiny_vae(architecture))),
        options.device,
    )
    yield from _loops(setting, model, ours, small, options)


def _model_bound(
    setting: str, architecture: Architecture, model: Model, ours: Local, options: Options
) -> Iterator[Row]:
    seconds, rounds, count = options.pick((SECONDS, ROUNDS, 16), (0.01, 1, 1))
    bare = BareLoop(model, "a photo of a thing", architecture.batch, ours.generator._pipe.pipeline)
    systems = {OURS: lambda: ours.rate(seconds).images, _BARE: lambda: bare.rate(count * architecture.batch)}
    workload = f"{setting}, batch {architecture.batch}: to JPEG shards, with the very networks of the loop"
    note = "one process, as an actor has it; Ray is in the rows for a CPU"
    yield from beside("B1", workload, by_turns(systems, rounds), {_BARE: MODEL_BOUND}, note=note)


def _loops(workload: str, model: Model, ours: Local, small: Local, options: Options) -> Iterator[Row]:
    """Yield the rows of B2 and B3."""
    seconds, rounds, few, many = options.pick((SECONDS, ROUNDS, ONE_BY_ONE, BATCHED), (0.01, 1, 2, BATCH))
    naive, fair = Loop(model, 1, "png"), Loop(model, BATCH, "jpg")
    systems: Mapping[str, Callable[[], float]] = {
        OURS: lambda: ours.rate(seconds).images,
        _TINY: lambda: small.rate(seconds).images,
        _NAIVE: lambda: _rate_with_any_kernels(naive.rate, few),
        _FAIR: lambda: _rate_with_any_kernels(fair.rate, many),
    }
    rates = by_turns(systems, rounds)
    yield from beside("B2", workload, {name: rates[name] for name in (OURS, _NAIVE)}, {_NAIVE: NAIVE})
    tiny, baseline = tuple(rates[_TINY]), f"{_NAIVE}, full VAE"
    yield Row("B2", workload, _TINY, "images/s", tiny, paired(tiny, rates[_NAIVE]), baseline, NAIVE_TINY)
    yield from beside("B3", workload, {name: rates[name] for name in (OURS, _FAIR)}, {_FAIR: FAIR})
    for peer in ("accelerate split_between_processes", "Ray Data", "datadreamer"):
        yield not_run("B3", workload, peer, "not compared on a GPU; it is beside us on a CPU")


def _rate_with_any_kernels(rate: Callable[[int], float], images: int) -> float:
    """Measure a peer with torch's default kernels. Loading our generator has switched on deterministic ones."""
    from torch.backends import cudnn

    with cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True):
        return rate(images)


def _compile_settings(options: Options) -> dict[str, Any]:
    return {} if options.quick else {"optimizations": {"compile": "default"}}
