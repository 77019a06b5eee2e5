"""A `python -m jobs generate` as a person starts it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine import ROOT

PATIENCE_S = 240.0


class Unexpected(AssertionError):
    """A run went another way than the fault's row says, or the fault could not be done to it."""


class Driver:
    """A running command, in a process group of its own as a shell starts it."""

    def __init__(self, line: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                line, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def until(self, what: Callable[[], object], pause_s: float = 0.2) -> None:
        """Wait until something is so, while the command runs. Raises Unexpected where it ends before, or for ever."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            if self.process.poll() is not None:
                raise Unexpected(f"the command ended too early, with {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Unexpected(f"waited {PATIENCE_S:.0f} s in vain: {self.last_words()}")
            time.sleep(pause_s)

    def send(self, number: signal.Signals) -> None:
        """A signal to the command's own process."""
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """SIGINT to the whole process group, as a terminal sends it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ends(self, code: int, *saying: str, within_s: float = PATIENCE_S) -> None:
        """Wait for its end. Raises Unexpected where its exit code is another, or its text lacks one of these."""
        try:
            found = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise Unexpected(f"no end after {within_s:.0f} s: {self.last_words()}") from None
        if found != code:
            raise Unexpected(f"exit code {found}, not {code}: {self.last_words()}")
        if lacking := [text for text in saying if text not in self.text()]:
            raise Unexpected(f"it does not say {lacking[0]!r}: {self.last_words()}")
        if "Traceback" in self.text():
            raise Unexpected(f"a traceback was shown: {self.last_words()}")

    def text(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text(encoding="utf-8")

    def last_words(self) -> str:
        """The last lines of its text, as one."""
        return " / ".join(self.text().splitlines()[-4:])[-600:] or "(it wrote nothing)"
