"""One picture of a few images of every class."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from shards.cache import ShardCache
from shards.codec import CorruptImage, Pixels, decode_rgb, fit_rgb
from shards.survey import Pick, Survey

MAX_CLASSES = 100
_CELL, _GAP, _NAMES, _TEXT, _WEIGHT, _LETTERS = 72, 4, 200, 14, 500, 24
_SYNTHETIC, _INK, _PALE = (230, 130, 20), (20, 20, 20), (130, 130, 130)


def draw_sheet(survey: Survey, cache: ShardCache) -> Pixels:
    """A row a class, by label, at most MAX_CLASSES of them: its name, its samples, and its picked images, cut to
    squares; a synthetic one has an orange frame. uint8 RGB (height, width, 3). Raises ShardError.

    cache: where remote shards are.
    """
    classes = survey.by_class()
    rows, step = classes[:MAX_CLASSES], _CELL + _GAP
    columns = max([4, *(len(picked) for picked in survey.picks.values())])
    sheet = np.full((_GAP + step * (len(rows) + 1), _NAMES + step * columns, 3), 255, np.uint8)
    _write(sheet, f"{survey.samples:,} samples, {survey.synthetic[True]:,} synthetic (orange frame)", 30)
    if len(rows) < len(classes):
        _write(sheet, f"{len(classes) - len(rows):,} more classes are not shown", 52, _PALE)
    for number, (label, name, count) in enumerate(rows, 1):
        top = _GAP + number * step
        title = name if name is not None else "no label" if label is None else f"label {label}"
        _write(sheet, title if len(title) <= _LETTERS else f"{title[: _LETTERS - 1]}…", top + 32)
        _write(sheet, f"{count:,}", top + 52, _PALE)
        for column, pick in enumerate(survey.picks.get((label, name), [])):
            left = _NAMES + column * step
            sheet[top : top + _CELL, left : left + _CELL] = _thumbnail(pick, cache.path(survey.tars[pick.tar]))
    return sheet


def _thumbnail(pick: Pick, path: Path) -> Pixels:
    with path.open("rb") as file:
        file.seek(pick.offset)
        data = file.read(pick.size)
    try:
        pixels = decode_rgb(data)
    except CorruptImage:
        return np.full((_CELL, _CELL, 3), 200, np.uint8)  # grey: a sheet shows what there is
    times = _CELL // max(pixels.shape[:2])
    if times > 1:  # larger pixels, not smoother ones
        pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    cell = fit_rgb(pixels, _CELL, _CELL)
    if pick.synthetic:
        cv2.rectangle(cell, (0, 0), (_CELL - 1, _CELL - 1), _SYNTHETIC, 2)
    return cell


def _write(sheet: Pixels, text: str, y: int, colour: Sequence[int] = _INK) -> None:
    cv2.putText(sheet, text, (8, y), colour, cv2.FontFace("sans"), _TEXT, _WEIGHT)
