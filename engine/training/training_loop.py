"""The loop of a generator's or an adapter's training: resumed from its checkpoint, logged, saved."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.training.checkpoint import Checkpoint, State

LogLine = Callable[[str], None]
_LOG_EVERY = 100


@dataclass
class TrainingLoop:
    """The steps of one training stage. stage: its name in log lines. batch: images of a step."""

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
        last_loss: float | None = None
        losses, since = list[float](), time.monotonic()
        for done in range(start + 1, self.steps + 1):
            losses.append(do_step(done - 1))
            if done % _LOG_EVERY == 0 or done == self.steps:
                last_loss = sum(losses) / len(losses)
                self._log_progress(done, last_loss, (time.monotonic() - since) / len(losses))
                losses, since = [], time.monotonic()
            if self.checkpoint.is_due or done == self.steps:
                self.checkpoint.save(state() | {"done": done})
        return last_loss

    def _log_progress(self, done: int, loss: float, seconds_per_step: float) -> None:
        self.log(
            f"{self.stage}: step {done}/{self.steps}, loss {loss:.4f}, {self.batch / max(seconds_per_step, 1e-9):.0f} "
            f"images/s, {(self.steps - done) * seconds_per_step:.0f} s left"
        )
