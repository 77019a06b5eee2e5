"""Held-out images that look like training images, and would flatter a classifier."""

from collections.abc import Sequence

import numpy as np

from engine.evaluation.image_groups import read_thumbnails
from engine.evaluation.neighbours import Progress, match_pixels, noop
from engine.evaluation.sweep_result import NearCopy
from engine.run.run import Run
from shards import ShardStream
from shards.storage.manifest import finished_shards


def find_near_copies(train: Sequence[ShardStream], held_out: ShardStream, progress: Progress = noop) -> list[NearCopy]:
    """Return held-out images that are copies of training images, the clearest first.

    train: everything that is trained on, also synthetic images: a synthetic copy gives a held-out image away too.
    """
    searched = [read_thumbnails(stream, progress, "training images") for stream in train]
    train_keys = [key for keys, _ in searched for key in keys]
    held_out_keys, small = read_thumbnails(held_out, progress, "held-out images")
    matches = match_pixels(small, np.concatenate([of_stream for _, of_stream in searched]), progress)
    return [
        NearCopy(
            held_out=held_out_keys[row],
            train=train_keys[matches.row[row]],
            mirrored=bool(matches.mirrored[row]),
            distance_ratio=float(matches.distance_ratio[row]),
        )
        for row in matches.by_distance(np.flatnonzero(matches.is_copy))
    ]


def near_copies_of(run: Run, progress: Progress = noop) -> list[NearCopy]:
    """Compare a run's validation and test images with all images that may be trained on.

    Raises NotReal for a held-out image that is synthetic.
    """
    real = run.store / "real"
    folders = [folder for folder in (real / "train", real / "world", run.shards) if finished_shards(folder)]
    held_out = [(real / split).url for split in ("validation", "test") if finished_shards(real / split)]
    train = [ShardStream(folder.url, shuffle=False) for folder in folders]
    return find_near_copies(train, ShardStream(held_out, shuffle=False, real_only=True), progress)
