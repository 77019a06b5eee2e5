"""The peer datadreamer: its image generation, driven and saved as by `generate_dataset_from_scratch`.

datadreamer's own generators load fixed models from a hub. This module adds a subclass of its base class that uses the
compared model. The loop over batches and the saving are datadreamer's.
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
    """Install datadreamer to a folder and return it, for the end of sys.path. Raises RuntimeError if pip fails."""
    target = folder / "datadreamer"
    if not target.is_dir():
        part = target.with_suffix(".part")
        line = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        line += ["--upgrade", "--target", str(part), "-r", str(REQUIREMENTS)]
        pip = subprocess.run(line, capture_output=True, text=True, check=False)
        if pip.returncode:
            raise RuntimeError(f"cannot be installed: {(pip.stderr.strip().splitlines() or ['?'])[-1]}")
        part.rename(target)  # last, so that an interrupted installation is repeated
    return target


class DataDreamer(Loop):
    """datadreamer's loop over batches, in an actor. place: the folder from `install`."""

    def __init__(self, place: str, model: Model, batch_size: int) -> None:
        sys.path.append(place)  # last, because the folder has packages with names like `tests`
        super().__init__(model, batch_size, "jpg")

    def rate(self, count: int) -> float:
        """Generate this many images; return the images per second."""
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            for batch in self._generator.generate_images(prompts(count)):
                for number, image in enumerate(batch):
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
                """Release nothing: the pipeline belongs to the loop."""

        return Generator(batch_size=self._batch, device=model.device, prompt_suffix="")
