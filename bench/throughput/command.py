"""The commands `python -m bench cpu` and `python -m bench gpu`."""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import ROOT, Stolen, machine
from bench.throughput.results import ALL_OF_IT, Results
from bench.throughput.rounds import Options
from bench.throughput.row import Row, not_run

CPU = {
    "B1": "model_bound",
    "B2": "naive",
    "B3": "fair",
    "B5": "host",
    "B6": "scaling",
    "B7": "determinism",
    "B8": "control",
    "fast": "fast_path",
}
"""The modules of the benchmarks for a CPU. B4 needs a GPU."""
PAGE = ROOT / "bench" / "README.md"
GPU_SECONDS = 500.0
"""Time limit of all benchmarks for a GPU; none starts later."""

Measure = Callable[[Options], Iterator[Row]]


def main(name: str, selected: Sequence[str], out: Path | None, json_file: Path | None, quick: bool) -> int:
    """Run benchmarks one after another and write each row at once; return 1 if one of them failed, else 0.

    selected: names of the benchmarks to run; all if empty.
    out:      folder of NAME.json and NAME.md. If benchmarks are selected, only their rows are replaced. If the folder
              is bench/results, bench/README.md is updated too.
    """
    files = [path for path in (out and out / f"{name}.json", json_file) if path is not None]
    pages = [PAGE] if out is not None and out.resolve() == (ROOT / "bench" / "results") else []
    results = Results(name, files, out and out / f"{name}.md", pages, machine())
    with TemporaryDirectory(prefix="shardmill-bench-") as folder:
        benchmarks, options = (
            _gpu_benchmarks(Path(folder), quick) if name == "gpu" else _cpu_benchmarks(Path(folder), quick)
        )
        if unknown := [bench for bench in selected if bench not in benchmarks]:
            raise SystemExit(f"python -m bench {name}: no benchmark {unknown[0]}; there are {', '.join(benchmarks)}")
        if selected and out is not None and files[0].is_file():
            results.rows = json.loads(files[0].read_text(encoding="utf-8"))
        failed = [
            bench
            for bench in dict.fromkeys(selected or benchmarks)
            if not _run(bench, benchmarks[bench], options, results)
        ]
    for missed in results.missed:
        print(f"below its target: {missed}")
    return int(bool(failed))


def _run(name: str, measure: Measure, options: Options, results: Results) -> bool:
    """Run a benchmark and add its rows; return whether it succeeded. A failure becomes a row; the others still run."""
    if options.left <= 0:
        results.add(not_run(name, ALL_OF_IT, "shardmill", "no time was left"))
        return True
    print(f"{name} begins", flush=True)
    began, stolen = time.monotonic(), Stolen()
    try:
        for row in measure(options):
            if options.quick:
                row = replace(row, target=None, note=row.note or "quick: no figure to go by")
            results.add(row, stolen.share())
    except Exception as error:
        traceback.print_exc()
        results.add(not_run(name, ALL_OF_IT, "shardmill", f"{type(error).__name__}: {error}".splitlines()[0]))
        return False
    finally:
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return True


def _cpu_benchmarks(folder: Path, quick: bool) -> tuple[Mapping[str, Measure], Options]:
    benchmarks = {name: import_module(f"bench.throughput.{module}").measure for name, module in CPU.items()}
    return benchmarks, Options(folder, quick)


def _gpu_benchmarks(folder: Path, quick: bool) -> tuple[Mapping[str, Measure], Options]:
    import torch

    from bench.throughput.gpu import BENCHMARKS

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not quick:
        raise SystemExit("python -m bench gpu: torch finds no GPU here; --quick runs it at tiny sizes on the CPU")
    return BENCHMARKS, Options(folder, quick, device, time.monotonic() + GPU_SECONDS)
