"""The size of the images that a run stores."""

import json

from engine.config.model_settings import ModelSettings
from engine.models.model_folder import local_folder
from engine.run.run import Run
from shards.storage.manifest import finished_shards, read_index

_UNKNOWN_SIDE = 1024


def image_shape(run: Run) -> tuple[int, int]:
    """Return height and width of the stored images: of a finished one, else from spec and model files."""
    spec = run.context.spec
    if spec.output.image.size is not None:
        return spec.output.image.size, spec.output.image.size
    for name in finished_shards(run.shards):
        if (rows := read_index(run.shards, name)).num_rows:
            return rows["height"][0].as_py(), rows["width"][0].as_py()
    native, (height, width) = _native_side(spec.model), spec.model.size
    return height or native, width or native


def _native_side(model: ModelSettings) -> int:
    """Return the side of the images that a pipeline on disk was trained for; if unknown, the largest usual one."""
    folder = local_folder(model.parts[0]) if model.parts else None
    if folder is None:
        return _UNKNOWN_SIDE
    try:
        part = next(name for name in ("unet", "transformer") if (folder / name).is_dir())
        sample = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))["sample_size"]
        blocks = json.loads((folder / "vae/config.json").read_text(encoding="utf-8"))["block_out_channels"]
        return int(sample) * int(2 ** (len(blocks) - 1))
    except (OSError, KeyError, StopIteration, TypeError, ValueError):
        return _UNKNOWN_SIDE
