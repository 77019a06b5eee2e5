"""The peer that users write: a diffusers pipeline in a loop; PIL saves every image in the same thread."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.throughput.peers import QUALITY, prompts
from bench.throughput.plain import Model, images, load_pipe


class Loop:
    """A loop over batches that saves files with a suffix. The usual loop has a batch of 1 and `png`.

    On a CPU it uses the faster of one thread and all threads of the model. A small model loses more by waiting for
    other threads than it gains.
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
        """Generate this many images; return the images per second."""
        texts = prompts(count)
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            for first in range(0, count, self._batch):
                batch = images(self._pipe, self._model, texts[first : first + self._batch], first)
                self.save(batch, Path(folder), first)
            return count / (time.perf_counter() - began)

    def save(self, batch: Any, folder: Path, first: int) -> None:
        """Save images to a folder; `first` is the number of the first one."""
        for number, image in enumerate(batch):
            options = {"quality": QUALITY} if self._suffix == "jpg" else {}
            image.save(folder / f"{first + number:06d}.{self._suffix}", **options)
