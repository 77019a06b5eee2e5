"""The loop that users write: a pipeline of diffusers, and every image saved by PIL in the thread that made it."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.throughput.peers import QUALITY, prompts
from bench.throughput.plain import Model, images, load_pipe


class Loop:
    """Batches of some size, files of some kind. A batch of 1 and `png` is the usual one.

    On a CPU it takes as many threads of torch as it is fastest with: one, or all that the model may have. A small model
    loses more by waiting for the other threads than it gains.
    """

    def __init__(self, model: Model, batch_size: int, suffix: str) -> None:
        self._model, self._batch, self._suffix, self._pipe = model, batch_size, suffix, load_pipe(model)
        self.rate(batch_size)
        if model.device == "cpu":
            self._choose_threads(model.threads)

    def _choose_threads(self, most: int) -> None:
        import torch

        rates = {}
        for threads in sorted({1, most}):
            torch.set_num_threads(threads)
            rates[threads] = self.rate(2 * self._batch)
        torch.set_num_threads(max(rates, key=lambda threads: rates[threads]))

    def rate(self, count: int) -> float:
        """Images per second over so many."""
        texts = prompts(count)
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            for first in range(0, count, self._batch):
                made = images(self._pipe, self._model, texts[first : first + self._batch], first)
                self.save(made, Path(folder), first)
            return count / (time.perf_counter() - began)

    def save(self, made: Any, folder: Path, first: int) -> None:
        """Write them where they were made."""
        for number, image in enumerate(made):
            options = {"quality": QUALITY} if self._suffix == "jpg" else {}
            image.save(folder / f"{first + number:06d}.{self._suffix}", **options)
