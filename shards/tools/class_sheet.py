"""One picture of a few images of every class."""

from pathlib import Path

import cv2

from shards.codec import Pixels
from shards.storage.shard_cache import ShardCache
from shards.tools.image_grid import CELL, GridRow, draw_grid, thumbnail
from shards.tools.survey import Pick, Survey

MAX_CLASSES = 100
_SYNTHETIC = (230, 130, 20)


def draw_sheet(survey: Survey, cache: ShardCache) -> Pixels:
    """A row a class, by label, at most MAX_CLASSES of them: its name, its samples, and its picked images, cut to
    squares; a synthetic one has an orange frame. uint8 RGB (height, width, 3). Raises ShardError.

    cache: where remote shards are.
    """
    classes = survey.by_class()
    rows = [
        GridRow(
            name if name is not None else "no label" if label is None else f"label {label}",
            f"{count:,}",
            [_framed(pick, cache.path(survey.tars[pick.tar])) for pick in survey.picks.get((label, name), [])],
        )
        for label, name, count in classes[:MAX_CLASSES]
    ]
    title = f"{survey.samples:,} samples, {survey.synthetic[True]:,} synthetic (orange frame)"
    more = len(classes) - len(rows)
    return draw_grid(title, f"{more:,} more classes are not shown" if more else "", rows)


def _framed(pick: Pick, path: Path) -> Pixels:
    with path.open("rb") as file:
        file.seek(pick.offset)
        cell = thumbnail(file.read(pick.size))
    if pick.synthetic:
        cv2.rectangle(cell, (0, 0), (CELL - 1, CELL - 1), _SYNTHETIC, 2)
    return cell
