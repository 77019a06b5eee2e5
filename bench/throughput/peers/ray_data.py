"""The peer Ray Data: map_batches with a pool of actors, and write_webdataset."""

import io
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.throughput.peers import QUALITY, prompts
from bench.throughput.plain import Model, images, load_pipe


class ImageActor:
    """An actor of the pool. It encodes its images, so that no pixels travel through the object store."""

    def __init__(self, model: Model, batch_size: int, folder: str) -> None:
        self._model, self._pipe, self._folder = model, load_pipe(model), Path(folder)
        images(self._pipe, model, prompts(batch_size), 0)  # warm up

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Generate and encode the images of a batch of prompts."""
        (self._folder / f"{time.time()}").touch()
        numbers = [int(number) for number in batch["number"]]
        generated = images(self._pipe, self._model, [str(text) for text in batch["prompt"]], numbers[0])
        return {
            "__key__": np.array([f"{number:09d}" for number in numbers]),
            "jpg": np.array([_encoded(image) for image in generated], dtype=object),
            "cls": np.array([str(number % 10) for number in numbers]),
            "json": np.array([json.dumps({"prompt": str(text)}) for text in batch["prompt"]]),
        }


def rate(model: Model, actors: int, batch_size: int, count: int) -> float:
    """Return the images per second from the first batch until all shards are written. Ray must be connected."""
    import ray

    context = ray.data.DataContext.get_current()
    context.wait_for_min_actors_s = 600  # all actors load before the first batch
    context.enable_progress_bars = False
    rows = [{"number": number, "prompt": text} for number, text in enumerate(prompts(count))]
    with TemporaryDirectory() as out, TemporaryDirectory() as batch_starts:
        ray.data.from_items(rows, override_num_blocks=-(-count // batch_size)).map_batches(
            ImageActor,
            fn_constructor_args=(model, batch_size, batch_starts),
            batch_size=batch_size,
            num_cpus=model.threads,
            compute=ray.data.ActorPoolStrategy(size=actors),
        ).write_webdataset(out, encoder=None)
        ended, first = time.time(), min(float(path.name) for path in Path(batch_starts).iterdir())
        return count / (ended - first)


def _encoded(image: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY)
    return data.getvalue()
