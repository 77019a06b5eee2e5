"""datadreamer's image generation, as its `generate_dataset_from_scratch` drives and saves it.

Its own generators name the models that they load from a hub. This one is another subclass of its base class, which
loads the model that is compared; the loop over batches, and the saving, are datadreamer's.
"""

import subprocess
import sys
import time
import uuid
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.throughput.peers import prompts
from bench.throughput.peers.loop import Loop
from bench.throughput.plain import Model, images

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def install(folder: Path) -> Path:
    """A folder to be put at the end of the path of a Python. Raises RuntimeError where it cannot be had."""
    target = folder / "datadreamer"
    if not target.is_dir():
        part = target.with_suffix(".part")
        line = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        line += ["--upgrade", "--target", str(part), "-r", str(REQUIREMENTS)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        part.rename(target)  # an installation that was cut short is made again
    return target


class DataDreamer(Loop):
    """Its loop over batches. place: what `install` gave."""

    def __init__(self, place: str, model: Model, batch_size: int) -> None:
        sys.path.append(place)  # last: it brings packages with names like `tests`
        super().__init__(model, batch_size, "jpg")

    def rate(self, count: int) -> float:
        """Images per second over so many."""
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            for made in self._generator.generate_images(prompts(count)):
                for number, image in enumerate(made):
                    image.save(Path(folder) / f"image_{number}_{uuid.uuid4().hex}.jpg")
            return count / (time.perf_counter() - began)

    @cached_property
    def _generator(self) -> Any:
        from datadreamer.image_generation.image_generator import ImageGenerator

        pipe, model = self._pipe, self._model

        class Generator(ImageGenerator):  # type: ignore[misc]
            def generate_images_batch(self, prompts: list[str], negative_prompt: str, prompt_objects: Any) -> Any:
                return images(pipe, model, prompts, 0)

            def release(self, empty_cuda_cache: bool = False) -> None:
                """Nothing to release: the pipeline is not its own."""

        return Generator(batch_size=self._batch, device=model.device, prompt_suffix="")
