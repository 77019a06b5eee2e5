"""B1, B2 and B3 on a GPU, at SD-Turbo 512 with one step: there the host is what is easily too slow. Without Ray: units
by the runner, in one process, as an actor makes them."""

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
"""Images of the loops, and a batch of theirs."""
MODEL_BOUND, NAIVE, NAIVE_TINY, FAIR = 0.95, 10.0, 25.0, 1.0
_BARE = "bare loop, no output"
_NAIVE = "diffusers, one prompt at a time, PNG"
_FAIR = "diffusers, batch 16, PIL JPEG, same thread"
_TINY = f"{OURS}, tiny VAE"


def measure(options: Options, models: Models) -> Iterator[Row]:
    one = options.pick(ARCHITECTURES[NAME], ARCHITECTURES[NAME].small())
    model = Model(models.of(one), one.steps, dtype="bf16", device=options.device, side=one.side)
    ours = Local(options.folder, models.settings(one, **_fast(options)), options.device)
    workload = f"{NAME}, {one.steps} step, bf16{'' if options.quick else ', compiled'}"
    yield from _model_bound(workload, one, model, ours, options)
    small = Local(options.folder, models.settings(one, **_fast(options), vae=str(models.tiny_vae(one))), options.device)
    yield from _loops(workload, model, ours, small, options)


def _model_bound(workload: str, one: Architecture, model: Model, ours: Local, options: Options) -> Iterator[Row]:
    seconds, rounds, count = options.pick((SECONDS, ROUNDS, 16), (0.01, 1, 1))
    bare = BareLoop(model, "a photo of a thing", one.batch, ours.generator._pipe.pipeline)
    systems = {OURS: lambda: ours.rate(seconds).images, _BARE: lambda: bare.rate(count * one.batch)}
    named = f"{workload}, batch {one.batch}: to JPEG shards, with the very networks of the loop"
    note = "one process, as an actor has it; Ray is in the rows for a CPU"
    yield from beside("B1", named, by_turns(systems, rounds), {_BARE: MODEL_BOUND}, note=note)


def _loops(workload: str, model: Model, ours: Local, small: Local, options: Options) -> Iterator[Row]:
    """B2 and B3."""
    seconds, rounds, few, many = options.pick((SECONDS, ROUNDS, ONE_BY_ONE, BATCHED), (0.01, 1, 2, BATCH))
    naive, fair = Loop(model, 1, "png"), Loop(model, BATCH, "jpg")
    systems: Mapping[str, Callable[[], float]] = {
        OURS: lambda: ours.rate(seconds).images,
        _TINY: lambda: small.rate(seconds).images,
        _NAIVE: lambda: _as_usual(naive.rate, few),
        _FAIR: lambda: _as_usual(fair.rate, many),
    }
    rates = by_turns(systems, rounds)
    yield from beside("B2", workload, {name: rates[name] for name in (OURS, _NAIVE)}, {_NAIVE: NAIVE})
    tiny, against = tuple(rates[_TINY]), f"{_NAIVE}, full VAE"
    yield Row("B2", workload, _TINY, "images/s", tiny, paired(tiny, rates[_NAIVE]), against, NAIVE_TINY)
    yield from beside("B3", workload, {name: rates[name] for name in (OURS, _FAIR)}, {_FAIR: FAIR})
    for peer in ("accelerate split_between_processes", "Ray Data", "datadreamer"):
        yield not_run("B3", workload, peer, "not compared on a GPU; it is beside us on a CPU")


def _as_usual(rate: Callable[[int], float], images: int) -> float:
    """Measure another tool's loop with the kernels that torch chooses; ours uses deterministic ones."""
    from torch.backends import cudnn

    with cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True):
        return rate(images)


def _fast(options: Options) -> dict[str, Any]:
    return {} if options.quick else {"optimizations": {"compile": "default"}}
