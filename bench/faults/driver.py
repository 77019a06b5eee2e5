"""A `python -m jobs generate` process, started as from a shell."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine import ROOT

TIMEOUT_S = 240.0


class UnexpectedOutcome(AssertionError):
    """A run did not do what the fault expects, or the fault could not be injected."""


class Driver:
    """A running command, in its own process group as a shell starts it."""

    def __init__(self, line: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                line, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until(self, condition: Callable[[], object], pause_s: float = 0.2) -> None:
        """Wait until a condition holds. Raises UnexpectedOutcome if the command ends before, and after a time-out."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if self.process.poll() is not None:
                raise UnexpectedOutcome(f"the command ended too early, with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise UnexpectedOutcome(f"the condition did not hold within {TIMEOUT_S:.0f} s: {self.tail()}")
            time.sleep(pause_s)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command's own process."""
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """Send SIGINT to the whole process group, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def expect_exit(self, code: int, *phrases: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for the exit code. Raises UnexpectedOutcome for another code, or if the output lacks a phrase."""
        try:
            exit_code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise UnexpectedOutcome(f"no end after {timeout_s:.0f} s: {self.tail()}") from None
        if exit_code != code:
            raise UnexpectedOutcome(f"exit code {exit_code}, not {code}: {self.tail()}")
        if missing := [phrase for phrase in phrases if phrase not in self.output()]:
            raise UnexpectedOutcome(f"the output lacks {missing[0]!r}: {self.tail()}")
        if "Traceback" in self.output():
            raise UnexpectedOutcome(f"the output has a traceback: {self.tail()}")

    def output(self) -> str:
        """Return all output so far."""
        return self._log.read_text(encoding="utf-8")

    def tail(self) -> str:
        """Return the last lines of the output, joined to one."""
        return " / ".join(self.output().splitlines()[-4:])[-600:] or "(no output)"
