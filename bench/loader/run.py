"""`python -m bench loader`: every loader by turns, round after round; what was found goes to JSON and a table."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

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
    """Of one run. rounds: how often each system is measured; seconds: of each measurement, at least."""

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
    for number in range(options.rounds):
        order = list(SYSTEMS)
        order = order[number % len(order) :] + order[: number % len(order)]
        for workload in options.workloads:
            for system in order:
                both = bench.measure("throughput", system, workload, MODES, options.seconds)
                for mode, found in zip(MODES, both, strict=True):
                    measured.append(Measured(workload, mode, system, found["rate"]))
                    settings[system] = found["settings"]
                    print(f"round {number + 1}: {workload}, {mode}: {system}: {found['rate']:,.0f}", flush=True)
        mixed += bench.measure("mix", OURS, options.workloads[0], MODES[:1], 2 * options.seconds)
    table = rows(measured, settings)
    first = options.workloads[0]
    for i, row in enumerate(table):
        if (row["workload"], row["mode"]) == (first, MODES[1]) and row["system"] != LIMIT:
            table[i] = with_memory(row, bench.measure("memory", row["system"], first, MODES[1:], 0)[0])
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
                (facts,) = self.measure("write", system, workload, MODES[:1], 0)
                marker.write_text(json.dumps(facts), encoding="utf-8")
            facts = json.loads(marker.read_text(encoding="utf-8"))
        return facts

    def measure(
        self, kind: str, system: str, workload: str, modes: Sequence[str], seconds: float
    ) -> list[dict[str, Any]]:
        """What `bench.loader.measure` found in each mode. Raises RuntimeError, with what it said, where it failed."""
        line = [self._python, "-m", "bench.loader.measure", kind, system, workload, self._place(workload)]
        workers = [0 if mode == MODES[0] else len(os.sched_getaffinity(0)) for mode in modes]
        done = subprocess.run(
            [*map(str, [*line, "--seconds", seconds, "--workers", *workers])],
            cwd=self.folder,
            env=variables(),
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{kind} of {system}, {workload} failed:\n{done.stderr[-2000:]}")
        return [json.loads(told.removeprefix(MARK)) for told in done.stdout.splitlines() if told.startswith(MARK)]

    def _place(self, workload: str) -> Path:
        return self.folder / workload.replace(" ", "_")


def _versions() -> dict[str, str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
