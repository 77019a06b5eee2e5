"""`python -m bench loader`: every loader by turns, round after round; the results go to JSON and a table."""

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
_LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Options:
    """The options of one run. rounds: how often each system is measured; seconds: of each measurement, at least."""

    workloads: Sequence[str]
    rounds: int
    seconds: float


def main(out: Path, json_file: Path | None, work: Path | None, options: Options) -> None:
    begun = monotonic()
    bench = Bench(work or ROOT / ".bench" / "loader")
    facts = {workload: bench.prepare(workload) for workload in options.workloads}
    found = _rows(bench, options) + s3.measure(bench.folder / "s3", rounds=options.rounds, workloads=options.workloads)
    about = {**machine(), **_versions(), "minutes": round((monotonic() - begun) / 60, 1)}
    table = markdown(found, facts, about)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1) + "\n"
    (out / "loader.json").write_text(text, encoding="utf-8")
    (out / "loader.md").write_text(table, encoding="utf-8")
    if json_file is not None:
        json_file.write_text(text, encoding="utf-8")
    print(table)


def _rows(bench: "Bench", options: Options) -> list[Row]:
    measured, mixed, settings = [], [], {}
    with ExitStack() as stack:
        loaders = {system: stack.enter_context(Loader(bench, system)) for system in SYSTEMS}
        for number in range(options.rounds):
            order = [*SYSTEMS][number % len(SYSTEMS) :] + [*SYSTEMS][: number % len(SYSTEMS)]
            for workload, system, mode in product(options.workloads, order, MODES):
                found = loaders[system].throughput(workload, mode, options.seconds)
                measured.append(Measured(workload, mode, system, found["rate"]))
                settings[system] = found["settings"]
                print(f"round {number + 1}: {workload}, {mode}: {system}: {found['rate']:,.0f}", flush=True)
            mixed.append(bench.measure("mix", OURS, options.workloads[0], MODES[0], 2 * options.seconds))
    table = rows(measured, settings)
    first = options.workloads[0]
    for i, row in enumerate(table):
        if (row["workload"], row["mode"]) == (first, MODES[1]) and row["system"] != LIMIT:
            table[i] = with_memory(row, bench.measure("memory", row["system"], first, MODES[1], 0))
    return table + mix_rows(first, mixed)


class Bench:
    """Measurements, each in a process of its own, over the forms that lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._python = folder.absolute(), python(folder.absolute())

    def prepare(self, workload: str) -> Mapping[str, Any]:
        """Write the samples and every loader's form, where they do not lie there yet; facts of the samples."""
        facts: dict[str, Any] = {}
        for system, about in SYSTEMS.items():
            place = self._place(workload) / about.module
            marker = place.with_name(f"{about.module}.json")
            if not marker.is_file():
                print(f"writing {workload} for {system}", flush=True)
                if place.is_symlink():
                    place.unlink()
                shutil.rmtree(place, ignore_errors=True)
                facts = self.measure("write", system, workload, MODES[0], 0)
                marker.write_text(json.dumps(facts), encoding="utf-8")
            facts = json.loads(marker.read_text(encoding="utf-8"))
        return facts

    def measure(self, kind: str, system: str, workload: str, mode: str, seconds: float) -> dict[str, Any]:
        """Return the result of `bench.loader.measure`. Raises RuntimeError with its output if it fails."""
        done = subprocess.run(
            [*self.line(kind, system), self.request(workload, mode, seconds)],
            cwd=self.folder,
            env=variables(),
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
        found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if done.returncode or not found:
            raise RuntimeError(f"{kind} of {system}, {workload} failed:\n{done.stderr[-2000:]}")
        return dict(json.loads(found[0].removeprefix(MARK)))

    def line(self, kind: str, system: str) -> list[str]:
        """The command of a measuring process."""
        return [str(self._python), "-m", "bench.loader.measure", kind, system]

    def request(self, workload: str, mode: str, seconds: float) -> str:
        """Return the request to a measuring process, as JSON."""
        workers = 0 if mode == MODES[0] else len(os.sched_getaffinity(0))
        fields = {"workload": workload, "folder": str(self._place(workload)), "workers": workers, "seconds": seconds}
        return json.dumps(fields)

    def _place(self, workload: str) -> Path:
        return self.folder / workload.replace(" ", "_")


class Loader:
    """A process that has imported one loader, and forks a fresh one for every measurement."""

    def __init__(self, bench: Bench, system: str) -> None:
        self._bench, self._system = bench, system
        self._said = TemporaryFile("w+")  # noqa: SIM115 (closed on leaving)
        self._process = subprocess.Popen(
            bench.line("serve", system),
            cwd=bench.folder,
            env=variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def throughput(self, workload: str, mode: str, seconds: float) -> dict[str, Any]:
        """Return the measured throughput. Raises RuntimeError with the process's output if it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._bench.request(workload, mode, seconds) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                return dict(json.loads(line.removeprefix(MARK)))
        self._said.seek(0)
        raise RuntimeError(f"{self._system}, {workload}, {mode} failed:\n{self._said.read()[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


def _versions() -> dict[str, str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
