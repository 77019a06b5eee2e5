"""A driver process as a user starts it, with its signals and its output."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import tests.cluster.fake_kind  # noqa: F401  (registers it in this process)
from tests.conftest import ROOT, command, family

Generate = Callable[..., "Driver"]
_DEADLINE = 120.0

# Of a cluster's head. By default Ray takes a quarter of a minute to notice that a node is gone.
HEAD = {
    "num_cpus": 0,
    "include_dashboard": False,
    "_system_config": {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500},
}


class Driver:
    """A running `python -m jobs generate SPEC --out RUN ...`, in a process group of its own as a shell starts it."""

    def __init__(self, arguments: list[str], run: Path, log: Path) -> None:
        self.run, self._log = run, log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                arguments, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._seen: dict[int, psutil.Process] = {}

    def done(self) -> int:
        """Return the number of units finished so far."""
        return len(list((self.run / "shards").glob("*_stats.json")))

    def actors(self) -> set[int]:
        """Return the process ids of the actors, by the title that Ray gives them."""
        return {process.pid for process in self._family() if _title(process).startswith("ray::UnitActor")}

    def until(self, what: Callable[[], bool]) -> None:
        """Wait until a condition holds while the driver runs."""
        deadline = time.monotonic() + _DEADLINE
        while not what():
            assert self._process.poll() is None, f"the driver ended with {self._process.returncode}:\n{self.text()}"
            assert time.monotonic() < deadline, f"nothing in {_DEADLINE:.0f} s:\n{self.text()}"
            time.sleep(0.02)

    def wait(self) -> int:
        """Wait for the driver to end and return its exit code."""
        self._family()
        return self._process.wait(timeout=_DEADLINE)

    def text(self) -> str:
        """Return everything that the driver wrote so far."""
        return self._log.read_text()

    def leftovers(self) -> list[str]:
        """Titles of its descendants that outlive it by more than some seconds. Ray's own agents may do so by a minute,
        where they have to find out by themselves that it is gone."""
        _, alive = psutil.wait_procs([process for process in self._seen.values() if not _is_agent(process)], timeout=20)
        return [_title(process) for process in alive]

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        for process in (*self._family(), *self._seen.values()):
            if process.is_running():
                process.kill()
        self._process.kill()
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        processes = family(self._process.pid)
        self._seen |= {process.pid: process for process in processes}
        return processes


@pytest.fixture
def generate(fake_spec: Path, tmp_path: Path) -> Iterator[Generate]:
    """Start a driver over a run folder, `tmp_path/run` by default; further arguments are those of `generate`."""
    started: list[Driver] = []

    def start(*arguments: str, run: Path | None = None) -> Driver:
        run = run or tmp_path / "run"
        line = command("generate", fake_spec, "--out", run, *arguments)
        driver = Driver(line, run, tmp_path / f"driver-{len(started)}.log")
        started.append(driver)
        return driver

    yield start
    for driver in started:
        driver.end()


def _is_agent(process: psutil.Process) -> bool:
    return _title(process).startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent"))


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
