"""All benchmarks for a GPU, the most important first. If the time is over, a row says that a benchmark was not run."""

from collections.abc import Callable, Iterator, Mapping

from bench.throughput import determinism, fast_path, host, precision, turbo, utilisation
from bench.throughput.models import Models
from bench.throughput.rounds import Options
from bench.throughput.row import Row


def _turbo(options: Options) -> Iterator[Row]:
    return turbo.measure(options, _models(options))


def _eager(options: Options) -> Iterator[Row]:
    return utilisation.eager(options, _models(options))


def _compiled(options: Options) -> Iterator[Row]:
    return utilisation.compiled(options, _models(options), utilisation.ORDER[:2])


def _others_compiled(options: Options) -> Iterator[Row]:
    return utilisation.compiled(options, _models(options), utilisation.ORDER[2:])


def _fast_path(options: Options) -> Iterator[Row]:
    return fast_path.on_gpu(options, _models(options))


def _models(options: Options) -> Models:
    return Models(options.folder / "models", options.device)


BENCHMARKS: Mapping[str, Callable[[Options], Iterator[Row]]] = {
    "first": precision.measure,
    "turbo": _turbo,
    "compiled": _compiled,
    "B7": determinism.measure,
    "B4": _eager,
    "fast": _fast_path,
    "B5": host.measure,
    "others": _others_compiled,
}
"""Benchmarks by name, in the order of execution. turbo: B1, B2 and B3 with one loaded model. compiled, others: B4."""
