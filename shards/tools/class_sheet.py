"""The class sheet: one picture with a few images of every class."""

from pathlib import Path

import cv2

from shards.codec import Pixels
from shards.storage.shard_cache import ShardCache
from shards.tools.image_grid import CELL, GridRow, draw_grid, thumbnail
from shards.tools.survey import PickedImage, Survey

MAX_CLASSES = 100
_FRAME_COLOUR = (230, 130, 20)


def draw_sheet(survey: Survey, cache: ShardCache) -> Pixels:
    """Draw a row for each of the first MAX_CLASSES classes, by label: name, sample count and picked images.

    Synthetic images have an orange frame. Return uint8 RGB (height, width, 3). Raise ShardError.
    cache: where copies of remote shards are.
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
    hidden = len(classes) - len(rows)
    return draw_grid(title, f"{hidden:,} more classes are not shown" if hidden else "", rows)


def _framed(pick: PickedImage, path: Path) -> Pixels:
    with path.open("rb") as file:
        file.seek(pick.offset)
        cell = thumbnail(file.read(pick.size))
    if pick.synthetic:
        cv2.rectangle(cell, (0, 0), (CELL - 1, CELL - 1), _FRAME_COLOUR, 2)
    return cell
