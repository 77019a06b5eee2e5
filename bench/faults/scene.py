"""One run with a fault."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from bench.faults.driver import TIMEOUT_S, Driver, UnexpectedOutcome
from bench.faults.places import Place
from bench.machine import ROOT
from shards.codec import encode_rgb
from shards.stats import STATS_SUFFIX

# Twelve units of about a second each, of a real pipeline.
SPEC = {
    "name": "faults",
    "seed": 11,
    "plan": {"per_class": 28},
    "prompts": {"templates": ["a {size} {class}"], "attributes": {"size": ["big", "small"]}},
    "filters": [],
    "output": {"samples_per_shard": 7, "image": {"format": "png", "size": 32}},
}
_MODEL = {"steps": 40, "batch_size": 8}
CLASSES = ("cat", "heron", "sea lion")
UNITS = 12
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
_PROGRAM = (sys.executable, "-m", "bench.faults.command")


def write_spec(folder: Path, model: Mapping[str, Any] | None = None) -> Path:
    """Write the spec file, with its real images beside it.

    model: section of the spec; by default a small real pipeline, which is written beside it too.
    """
    from bench.tiny_pipeline import make_pipeline

    section = model or {**_MODEL, "source": str(make_pipeline(folder / "model"))}
    rng = np.random.default_rng(0)
    for name, number in product(CLASSES, range(4)):
        place = folder / "real" / name
        place.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        (place / f"{number}.png").write_bytes(encode_rgb(image, "png"))
    data = {"source": "imagefolder", "path": str(folder / "real")}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC, "data": data, "model": section}), encoding="utf-8")
    return path


@dataclass
class Scene:
    """A run, the commands that were started for it, and their actors.

    workers: the number of actors of each command.
    folder:  holds the logs, and whatever else a fault needs.
    """

    spec: Path
    place: Place
    workers: int
    folder: Path
    _commands: int = 0
    _drivers: list[Driver] = field(default_factory=list)
    _seen: set[psutil.Process] = field(default_factory=set)
    _others: frozenset[psutil.Process] = field(default_factory=lambda: frozenset(_children()))

    def generate(self, *settings: str, workers: int | None = None, poison: str | None = None) -> Driver:
        """Start `generate` for the run, see `command`."""
        log = self.folder / f"driver-{self._commands}.log"
        self._drivers.append(Driver(self.command(*settings, workers=workers, poison=poison), log))
        return self._drivers[-1]

    def command(self, *settings: str, workers: int | None = None, poison: str | None = None) -> list[str]:
        """Return the command line of a `generate` for the run. Each command shuffles the units in another way.

        settings: arguments of `--set`.
        poison:   one of `bench.faults.command.POISONS`.
        """
        self._commands += 1
        actors = workers or self.workers
        all_settings = [f"cluster.min_actors={actors}", f"cluster.max_actors={actors}", *settings]
        line = [*_PROGRAM, *([] if poison is None else ["--poison", poison]), str(self._commands)]
        line += ["generate", str(self.spec), "--out", self.place.url]
        return line + [part for setting in all_settings for part in ("--set", setting)]

    def finished_units(self) -> int:
        """Return the number of finished units."""
        return sum(name.endswith(STATS_SUFFIX) for name in self.place.names())

    def wait_until_busy(self, driver: Driver, units: int = 2) -> None:
        """Wait until `units` units are finished and an actor is busy. Raises UnexpectedOutcome if too few are left."""
        driver.wait_until(lambda: self.finished_units() >= units and self.busy_actors())
        if self.finished_units() >= UNITS - 1:
            raise UnexpectedOutcome(f"too late: {self.finished_units()} of {UNITS} units are finished")

    def actors(self) -> list[psutil.Process]:
        """Return the actors of all drivers and nodes, ready or loading."""
        return [process for process in self.processes() if _title(process).startswith("ray::UnitActor")]

    def busy_actors(self) -> list[psutil.Process]:
        """Return the actors that are running a unit."""
        return [actor for actor in self.actors() if ".generate_unit" in _title(actor)]

    def kill_busy_actor(self, driver: Driver) -> int:
        """Send SIGKILL to a busy actor; return its process id."""
        driver.wait_until(self.busy_actors)
        victim = self.busy_actors()[0]
        victim.send_signal(signal.SIGKILL)
        return victim.pid

    def quarantined(self) -> dict[int, list[str]]:
        """Return the tracebacks of each attempt of the quarantined units."""
        files = [json.loads(self.place.read(name, "quarantine")) for name in self.place.names("quarantine")]
        return {content["unit"]: content["attempts"] for content in files}

    def jobs(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """Run `python -m jobs ARGUMENTS` to its end."""
        line = [sys.executable, "-m", "jobs", *map(str, arguments)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def survivors(self) -> list[str]:
        """Return the titles of processes that outlive their drivers. Ray's agents may do so, for up to a minute."""
        watched = [process for process in self._seen if not _title(process).startswith(_AGENTS)]
        _, alive = psutil.wait_procs(watched, timeout=20)
        return [_title(process) for process in alive]

    def kill_all(self) -> None:
        """Kill all processes of the run."""
        for process in (*self.processes(), *self._seen):
            if process.is_running():
                process.kill()
        for driver in self._drivers:
            driver.process.wait(10)

    def processes(self) -> list[psutil.Process]:
        """Return the commands and all processes that they or their nodes started."""
        processes = [process for process in _children() if process not in self._others]
        self._seen |= set(processes)
        return processes


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
