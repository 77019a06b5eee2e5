"""The loop of a generator's or an adapter's training: resumed from its checkpoint, logged, saved."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from engine.training.checkpoint import Checkpoint, State

LogLine = Callable[[str], None]


@dataclass
class TrainingLoop:
    """The steps of one training stage.

    stage: its name in log lines. batch: images of a step.
    """

    stage: str
    steps: int
    batch: int
    checkpoint: Checkpoint
    log: LogLine

    def run(
        self, do_step: Callable[[int], float], state: Callable[[], State], restore: Callable[[State], None]
    ) -> float | None:
        """Do the steps that the checkpoint has not done. Returns the last logged loss; None if no step was left.

        do_step: takes the number of a step, from 0, and returns its loss. state, restore: of all that steps change.
        """
        start = 0
        if (saved := self.checkpoint.load()) is not None:
            start = int(saved["done"])
            restore(saved)
        step_log = StepLog(self.stage, self.steps, self.batch, self.log)
        for step in range(start, self.steps):
            step_log.add(step + 1, do_step(step))
            self.checkpoint.save_if_due(partial(_state_after, state, step + 1))
        if start < self.steps:
            self.checkpoint.save(_state_after(state, self.steps))
        return step_log.last_loss


def _state_after(state: Callable[[], State], done: int) -> State:
    return state() | {"done": done}


@dataclass
class StepLog:
    """Log lines of a training: step, mean loss since the line before, images per second, seconds left."""

    stage: str
    steps: int
    batch: int
    log: LogLine
    every: int = 100
    last_loss: float | None = None
    _losses: list[float] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def add(self, step: int, loss: float) -> None:
        """Count one finished step; the first is 1."""
        self._losses.append(loss)
        if step % self.every and step != self.steps:
            return
        seconds_per_step = max(time.monotonic() - self._since, 1e-9) / len(self._losses)
        self.last_loss = sum(self._losses) / len(self._losses)
        self.log(
            f"{self.stage}: step {step}/{self.steps}, loss {self.last_loss:.4f}, "
            f"{self.batch / seconds_per_step:.0f} images/s, {(self.steps - step) * seconds_per_step:.0f} s left"
        )
        self._losses, self._since = [], time.monotonic()
