"""Estimates of the disk space and time that the rest of a run will take."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.config.spec import Spec
from engine.errors import OutputError
from engine.monitoring.budget import Cost, read_cost, total_duration
from engine.monitoring.formatting import format_bytes
from engine.run.image_shape import image_shape
from engine.run.run import Run
from shards.stats import Stats

# Bytes per pixel of photographs, on the high side. Finished shards of the run replace them.
_BYTES_PER_PIXEL = {"png": 2.2, "jpg": 0.9, "webp": 0.7}
# Four tar headers, the padding of four members, the json itself, and the row of the index.
_BYTES_PER_SAMPLE = 5_000
_DISK_MARGIN = 1.1


@dataclass(frozen=True)
class Estimate:
    """What the units take that are not finished, and the cost of all commands so far.

    actor_seconds: at the speed of the finished units, rejected images and encoding included; None if there are none.
    """

    images: int
    disk_bytes: int
    batches_per_unit: Sequence[int]
    spent: Cost
    actor_seconds: float | None


@dataclass(frozen=True)
class BatchTiming:
    """A measurement of one batch on one actor, and the number of actors that the run would have."""

    seconds_per_batch: float
    actors: int


@dataclass(frozen=True)
class RemainingTime:
    """The seconds until a run is complete, for the actors that have a unit to make and summed over them."""

    actors: int
    actor_seconds: float
    seconds: float


def estimate(run: Run) -> Estimate:
    """Estimate the rest of a run from its spec and its finished shards."""
    plan, finished = run.context.plan, list(run.stats().values())
    slots_per_unit = [len(plan.unit(number)) for number in run.pending()]
    bytes_per_image = _stored_bytes_per_image(finished) or _typical_bytes_per_image(run)
    return estimate_rest(run.context.spec, slots_per_unit, finished, bytes_per_image, read_cost(run.store))


def estimate_rest(
    spec: Spec, slots_per_unit: Sequence[int], finished: Sequence[Stats], bytes_per_image: float, recorded: Cost
) -> Estimate:
    """Return the estimate for units of so many slots. recorded: see `read_cost`."""
    images, seconds = sum(slots_per_unit), total_duration(finished)
    finished_slots = sum(sum(stats["planned"].values()) for stats in finished)
    return Estimate(
        images=images,
        disk_bytes=round(images * bytes_per_image),
        batches_per_unit=[-(-slots // spec.model.fixed_batch_size()) for slots in slots_per_unit],
        spent=recorded.at_least(spec, seconds),
        actor_seconds=seconds / finished_slots * images if finished_slots else None,
    )


def remaining_time(rest: Estimate, timing: BatchTiming | None) -> RemainingTime | None:
    """Return the time by a measured batch, or by the finished units on one actor; None if there is neither."""
    if timing is None:
        seconds = rest.actor_seconds
        return None if seconds is None else RemainingTime(1, seconds, seconds)
    batches = rest.batches_per_unit
    actors = min(timing.actors, len(batches))
    # Actors share units, not batches: the one with the most batches is finished last.
    most = max((sum(batches[first::actors]) for first in range(actors)), default=0)
    return RemainingTime(actors, timing.seconds_per_batch * sum(batches), timing.seconds_per_batch * most)


def check_disk(run: Run, rest: Estimate) -> None:
    """Raise OutputError if the disk cannot hold the rest of the run."""
    free = run.shards.free_bytes()
    if free is not None and rest.disk_bytes * _DISK_MARGIN > free:
        raise OutputError(
            f"--out {run.store}: {format_bytes(rest.disk_bytes)} are to be written, and {format_bytes(free)} are free; "
            "choose another disk, fewer images, or output.image.format jpg"
        )


def _stored_bytes_per_image(finished: Sequence[Stats]) -> float | None:
    images = sum(stats["count"] for stats in finished)
    return sum(file["size"] for stats in finished for file in stats["files"]) / images if images else None


def _typical_bytes_per_image(run: Run) -> float:
    height, width = image_shape(run)
    return height * width * _BYTES_PER_PIXEL[run.context.spec.output.image.format] + _BYTES_PER_SAMPLE
