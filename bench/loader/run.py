"""`python -m bench loader`: measure every loader in turn, round after round; write JSON and a table."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, Self

from bench.loader import s3
from bench.loader.environment import REQUIREMENTS, python, variables
from bench.loader.systems import LIMIT, MARK, OURS, SYSTEMS
from bench.loader.table import Measured, Row, markdown, mix_rows, rows, with_memory
from bench.machine import ROOT, machine

WORKLOADS = ("32x32 PNG", "256x256 JPEG", "512x512 JPEG")
MODES = ("one process", "all cores")
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Options:
    """The options of a run. rounds: measurements of each system. seconds: least duration of a measurement."""

    workloads: Sequence[str]
    rounds: int
    seconds: float


def main(out: Path, json_file: Path | None, work: Path | None, options: Options) -> None:
    began = monotonic()
    bench = Bench(work or ROOT / ".bench" / "loader")
    facts = {workload: bench.prepare(workload) for workload in options.workloads}
    results = _measure_all(bench, options) + s3.measure(
        bench.folder / "s3", rounds=options.rounds, workloads=options.workloads
    )
    machine_facts = {**machine(), **_versions(), "minutes": round((monotonic() - began) / 60, 1)}
    table = markdown(results, facts, machine_facts)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (out / "loader.json").write_text(text, encoding="utf-8")
    (out / "loader.md").write_text(table, encoding="utf-8")
    if json_file is not None:
        json_file.write_text(text, encoding="utf-8")
    print(table)


def _measure_all(bench: "Bench", options: Options) -> list[Row]:
    measured, mixed, settings = [], [], {}
    with ExitStack() as stack:
        loaders = {system: stack.enter_context(Loader(bench, system)) for system in SYSTEMS}
        for number in range(options.rounds):
            order = [*SYSTEMS][number % len(SYSTEMS) :] + [*SYSTEMS][: number % len(SYSTEMS)]
            for workload, system, mode in product(options.workloads, order, MODES):
                result = loaders[system].throughput(workload, mode, options.seconds)
                measured.append(Measured(workload, mode, system, result["rate"]))
                settings[system] = result["settings"]
                print(f"round {number + 1}: {workload}, {mode}: {system}: {result['rate']:,.0f}", flush=True)
            mixed.append(bench.measure("mix", OURS, options.workloads[0], MODES[0], 2 * options.seconds))
    table = rows(measured, settings)
    first = options.workloads[0]
    for i, row in enumerate(table):
        if (row["workload"], row["mode"]) == (first, MODES[1]) and row["system"] != LIMIT:
            table[i] = with_memory(row, bench.measure("memory", row["system"], first, MODES[1], 0))
    return table + mix_rows(first, mixed)


class Bench:
    """A runner of measurements, each in its own process, on the data in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._python = folder.absolute(), python(folder.absolute())

    def prepare(self, workload: str) -> Mapping[str, Any]:
        """Write the samples and the format of every loader if missing; return facts of the samples."""
        facts: dict[str, Any] = {}
        for name, system in SYSTEMS.items():
            place = self._place(workload) / system.module
            marker = place.with_name(f"{system.module}.json")
            if not marker.is_file():
                print(f"writing {workload} for {name}", flush=True)
                if place.is_symlink():
                    place.unlink()
                shutil.rmtree(place, ignore_errors=True)
                facts = self.measure("write", name, workload, MODES[0], 0)
                marker.write_text(json.dumps(facts), encoding="utf-8")
            facts = json.loads(marker.read_text(encoding="utf-8"))
        return facts

    def measure(self, kind: str, system: str, workload: str, mode: str, seconds: float) -> dict[str, Any]:
        """Run `bench.loader.measure` and return its result. Raises RuntimeError with its output if it fails."""
        process = subprocess.run(
            [*self.command(kind, system), self.task(workload, mode, seconds)],
            cwd=self.folder,
            env=variables(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        results = [line for line in process.stdout.splitlines() if line.startswith(MARK)]
        if process.returncode or not results:
            raise RuntimeError(f"{kind} of {system}, {workload} failed:\n{process.stderr[-2000:]}")
        return dict(json.loads(results[0].removeprefix(MARK)))

    def command(self, kind: str, system: str) -> list[str]:
        """Return the command line of a measuring process."""
        return [str(self._python), "-m", "bench.loader.measure", kind, system]

    def task(self, workload: str, mode: str, seconds: float) -> str:
        """Return the task of a measuring process as JSON."""
        workers = 0 if mode == MODES[0] else len(os.sched_getaffinity(0))
        task = {"workload": workload, "folder": str(self._place(workload)), "workers": workers, "seconds": seconds}
        return json.dumps(task)

    def _place(self, workload: str) -> Path:
        return self.folder / workload.replace(" ", "_")


class Loader:
    """A process that has imported one loader and forks a child for every measurement."""

    def __init__(self, bench: Bench, system: str) -> None:
        self._bench, self._system = bench, system
        self._errors = TemporaryFile("w+")  # noqa: SIM115 (closed on leaving)
        self._process = subprocess.Popen(
            bench.command("serve", system),
            cwd=bench.folder,
            env=variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def throughput(self, workload: str, mode: str, seconds: float) -> dict[str, Any]:
        """Measure the throughput. Raises RuntimeError with the output of the process if it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._bench.task(workload, mode, seconds) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                return dict(json.loads(line.removeprefix(MARK)))
        self._errors.seek(0)
        raise RuntimeError(f"{self._system}, {workload}, {mode} failed:\n{self._errors.read()[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _versions() -> dict[str, str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
