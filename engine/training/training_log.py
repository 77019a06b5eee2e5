"""Plain log lines of a training loop: step, loss, rate and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Log = Callable[[str], None]


@dataclass
class TrainingProgress:
    """Averages the loss between lines; the first line of a resumed run starts from its own clock."""

    stage: str
    total: int
    batch: int
    log: Log
    every: int = 100
    _loss: float = 0.0
    _steps: int = 0
    _since: float = field(default_factory=time.monotonic)
    last: float | None = None

    def update(self, step: int, loss: float) -> None:
        """Count one finished step (`step` is 1 for the first)."""
        self._loss += loss
        self._steps += 1
        if step % self.every and step != self.total:
            return
        seconds = max(time.monotonic() - self._since, 1e-9)
        self.last = self._loss / self._steps
        rate = self._steps / seconds
        self.log(
            f"{self.stage}: step {step}/{self.total}, loss {self.last:.4f}, {rate * self.batch:.0f} images/s, "
            f"{(self.total - step) / rate:.0f} s left"
        )
        self._loss, self._steps, self._since = 0.0, 0, time.monotonic()
