"""The guard of held-out images: that they are real, and that nothing trained on is a copy of one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.evaluation.image_groups import small_ones
from engine.evaluation.measure_progress import Progress, untold
from engine.evaluation.neighbours import find_copies
from engine.run.run import Run
from shards import ShardStream
from shards.storage.manifest import finished_shards


@dataclass(frozen=True)
class Leak:
    """Keys of a held-out image and of the training image that it is a copy of; see `neighbours` for the rest."""

    held_out: str
    train: str
    mirrored: bool
    ratio: float

    @property
    def text(self) -> str:
        """For people."""
        how = "the mirror image" if self.mirrored else "a copy"
        return f"{self.held_out} is {how} of {self.train}"


def find_leaks(train: Sequence[ShardStream], held_out: ShardStream, progress: Progress = untold) -> list[Leak]:
    """Exact copies and near-copies, the clearest first.

    train: all that is trained on, real and synthetic: a synthetic copy of a held-out image gives it away as well.
    """
    seen = [small_ones(stream, progress, "training images") for stream in train]
    keys = [key for some, _ in seen for key in some]
    judged, small = small_ones(held_out, progress, "held-out images")
    found = find_copies(small, np.concatenate([some for _, some in seen]), progress)
    rows = np.flatnonzero(found.found)
    return [
        Leak(judged[row], keys[found.place[row]], bool(found.mirrored[row]), float(found.ratio[row]))
        for row in rows[np.argsort(found.ratio[rows], kind="stable")]
    ]


def leaks_of(run: Run, progress: Progress = untold) -> list[Leak]:
    """Of the validation and test images of a run, beside all that may be trained on. Raises NotReal."""
    real = run.store / "real"
    seen = [real / split for split in ("train", "world") if finished_shards(real / split)]
    judged = [(real / split).url for split in ("validation", "test") if finished_shards(real / split)]
    trained_on = [ShardStream(place.url, shuffle=False) for place in (*seen, run.shards) if finished_shards(place)]
    return find_leaks(trained_on, ShardStream(judged, shuffle=False, real_only=True), progress)
