"""One run that a fault is done to."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import psutil
import yaml

from bench.faults.driver import PATIENCE_S, Driver, Unexpected
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


def write_spec(folder: Path) -> Path:
    """The spec file, with its model and its real images beside it."""
    from bench.tiny_pipeline import make_pipeline

    model = make_pipeline(folder / "model")
    draw = np.random.default_rng(0)
    for name, number in product(CLASSES, range(4)):
        place = folder / "real" / name
        place.mkdir(parents=True, exist_ok=True)
        image = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        (place / f"{number}.png").write_bytes(encode_rgb(image, "png"))
    data = {"source": "imagefolder", "path": str(folder / "real")}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC, "data": data, "model": {**_MODEL, "source": str(model)}}), encoding="utf-8")
    return path


@dataclass
class Scene:
    """A run in the making: its place, the commands started over it, and their actors.

    workers: actors of each command. folder: for logs and whatever a fault needs besides.
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
        """Start `generate` over the run, see `command`."""
        log = self.folder / f"driver-{self._commands}.log"
        self._drivers.append(Driver(self.command(*settings, workers=workers, poison=poison), log))
        return self._drivers[-1]

    def command(self, *settings: str, workers: int | None = None, poison: str | None = None) -> list[str]:
        """The words of a `generate` over the run, its units in an order that differs from command to command.

        settings: those of `--set`; poison: one of `bench.faults.command`.
        """
        self._commands += 1
        actors = workers or self.workers
        chosen = [f"cluster.min_actors={actors}", f"cluster.max_actors={actors}", *settings]
        words = [*_PROGRAM, *([] if poison is None else ["--poison", poison]), str(self._commands)]
        words += ["generate", str(self.spec), "--out", self.place.url]
        return words + [part for one in chosen for part in ("--set", one)]

    def done(self) -> int:
        """Units finished so far."""
        return sum(name.endswith(STATS_SUFFIX) for name in self.place.names())

    def at_work(self, driver: Driver, units: int = 2) -> None:
        """Wait until some units are finished, others are being made, and there is something left to disturb."""
        driver.until(lambda: self.done() >= units and self.makers())
        if self.done() >= UNITS - 1:
            raise Unexpected(f"too late: {self.done()} of {UNITS} units are finished")

    def actors(self) -> list[psutil.Process]:
        """Actors of all drivers and nodes, ready or loading."""
        return [one for one in self.family() if _title(one).startswith("ray::UnitMaker")]

    def makers(self) -> list[psutil.Process]:
        """Actors that are making a unit."""
        return [one for one in self.actors() if ".make" in _title(one)]

    def kill_maker(self, driver: Driver) -> int:
        """SIGKILL to an actor that is making a unit; gives its process id."""
        driver.until(self.makers)
        victim = self.makers()[0]
        victim.send_signal(signal.SIGKILL)
        return victim.pid

    def quarantined(self) -> dict[int, list[str]]:
        """The units that are put aside, and the traceback of each attempt."""
        found = {name: json.loads(self.place.read(name, "quarantine")) for name in self.place.names("quarantine")}
        return {one["unit"]: one["attempts"] for one in found.values()}

    def jobs(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """`python -m jobs ARGUMENTS`, to its end."""
        line = [sys.executable, "-m", "jobs", *(str(one) for one in arguments)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def leftovers(self) -> list[str]:
        """Titles of processes that outlive their drivers; Ray's agents may, by a minute."""
        mortal = [one for one in self._seen if not _title(one).startswith(_AGENTS)]
        _, alive = psutil.wait_procs(mortal, timeout=20)
        return [_title(one) for one in alive]

    def end(self) -> None:
        """Leave no process behind, however it went."""
        for one in (*self.family(), *self._seen):
            if one.is_running():
                one.kill()
        for driver in self._drivers:
            driver.process.wait(10)

    def family(self) -> list[psutil.Process]:
        """The commands, and all processes that they or their nodes started."""
        found = [one for one in _children() if one not in self._others]
        self._seen |= set(found)
        return found


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
