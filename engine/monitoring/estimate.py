"""What a run will take: disk, time and money, before anything is spent."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import OutputError
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.protocol import ModelSettings
from engine.models.resolve import local_folder
from engine.monitoring.budget import Cost, seconds_of
from engine.monitoring.cost_file import recorded
from engine.run.run import Run
from shards.storage.manifest import finished, read_index

# Bytes per pixel of photographs, on the high side; a run's own shards replace them as soon as there is one.
_BYTES_PER_PIXEL = {"png": 2.2, "jpg": 0.9, "webp": 0.7}
# Four tar headers, the padding of four members, the json itself, and the row of the index.
_BYTES_PER_SAMPLE = 5_000
_UNKNOWN_SIDE = 1024
_MARGIN = 1.1


@dataclass(frozen=True)
class Estimate:
    """Of what is left to make: images, bytes on disk, and forward batches of each unit.

    spent:  so far, by all commands.
    left_s: seconds that actors will spend on the units left if these go like the finished ones, so with what filters
            reject and with encoding; None where none is finished.
    """

    images: int
    disk_bytes: int
    batches: Sequence[int]
    spent: Cost
    left_s: float | None


@dataclass(frozen=True)
class Pace:
    """Measured: seconds that an actor takes for a batch, and how many actors there would be."""

    seconds_per_batch: float
    actors: int


def estimate(run: Run) -> Estimate:
    """From the spec alone, or from the run's finished shards where there are some."""
    plan, spec = run.recipe.plan, run.recipe.spec
    units = [plan.unit(number) for number in run.pending()]
    images = sum(len(unit) for unit in units)
    stats = run.stats().values()
    made, done = sum(one["count"] for one in stats), plan.total - images
    if made:
        per_image = sum(file["size"] for one in stats for file in one["files"]) / made
    else:
        height, width = image_shape(run)
        per_image = height * width * _BYTES_PER_PIXEL[spec.output.image.format] + _BYTES_PER_SAMPLE
    batches = [-(-len(unit) // spec.model.fixed_batch_size()) for unit in units]
    took = seconds_of(stats)
    spent, left = recorded(run.store).at_least(spec, took), took / done * images if done else None
    return Estimate(images, round(images * per_image), batches, spent, left)


def check_disk(run: Run, expected: Estimate) -> None:
    """Raises OutputError where the disk cannot hold what is left to make."""
    free = run.shards.free_bytes()
    if free is not None and expected.disk_bytes * _MARGIN > free:
        raise OutputError(
            f"--out {run.store}: {megabytes(expected.disk_bytes)} are to be written, and {megabytes(free)} are free; "
            "choose another disk, fewer images, or output.image.format jpg"
        )


def image_shape(run: Run) -> tuple[int, int]:
    """Height and width of the stored images: of a finished one, else what can be told without loading the model."""
    spec = run.recipe.spec
    if spec.output.image.size is not None:
        return spec.output.image.size, spec.output.image.size
    for name in finished(run.shards):
        if (rows := read_index(run.shards, name)).num_rows:
            return rows["height"][0].as_py(), rows["width"][0].as_py()
    native = _native_side(spec.model)
    if not isinstance(spec.model, DiffusersSettings):
        return native, native
    return spec.model.height or native, spec.model.width or native


def megabytes(count: int) -> str:
    """Bytes in words: 12.3 MB, 4.5 GB, 1.2 TB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.1f} MB"


def _native_side(model: ModelSettings) -> int:
    """Side of the images that a pipeline on disk was trained for; the largest usual one where that is unknown."""
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
