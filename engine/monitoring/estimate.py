"""What a run will take: disk, time and money, before anything is spent."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import OutputError
from engine.monitoring.budget import Cost, seconds_of
from engine.monitoring.cost_file import recorded
from engine.run.image_shape import image_shape
from engine.run.run import Run

# Bytes per pixel of photographs, on the high side; a run's own shards replace them as soon as there is one.
_BYTES_PER_PIXEL = {"png": 2.2, "jpg": 0.9, "webp": 0.7}
# Four tar headers, the padding of four members, the json itself, and the row of the index.
_BYTES_PER_SAMPLE = 5_000
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
    plan, spec = run.context.plan, run.context.spec
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


def megabytes(count: int) -> str:
    """Bytes in words: 12.3 MB, 4.5 GB, 1.2 TB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.1f} MB"
