"""The guard of held-out images: that they are real, and that nothing trained on is a copy of one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import DataError
from engine.measures.groups import small_ones
from engine.measures.neighbours import find_copies
from engine.measures.progress import Progress, untold
from shards import NotReal, ShardStream

_NAMED = 3


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


def check_leaks(train: Sequence[ShardStream], held_out: ShardStream, progress: Progress = untold) -> None:
    """Raises NotReal for a synthetic image among those held out, DataError with the first names for leaks."""
    made = held_out.rows[held_out.synthetic[held_out.rows]]
    if len(made):
        raise NotReal(f"{held_out.place(int(made[0]))} is synthetic, and held-out images must be real; take it out")
    if leaks := find_leaks(train, held_out, progress):
        named = "; ".join(leak.text for leak in leaks[:_NAMED]) + "; ..." * (len(leaks) > _NAMED)
        raise DataError(
            f"{len(leaks)} held-out images are copies of what is trained on: {named}; take them out of one of the two"
        )
