"""A grid of images: rows of square thumbnails, each with a title and a note. The class sheet has a row per class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from shards.codec import CorruptImage, Encoded, Pixels, decode_rgb, fit_rgb
from shards.storage.shard_cache import ShardCache
from shards.tools.survey import PickedImage, Survey

CELL = 72
"""Side of a thumbnail in pixels."""
MAX_CLASSES = 100
"""Rows of a class sheet."""
_GAP, _TITLE_WIDTH, _FONT_SIZE, _FONT_WEIGHT, _TITLE_LENGTH = 4, 200, 14, 500, 24
_DARK, _LIGHT, _ORANGE, _UNREADABLE = (20, 20, 20), (130, 130, 130), (230, 130, 20), 200


@dataclass(frozen=True)
class GridRow:
    """A row of the grid. cells: see `thumbnail`."""

    title: str
    note: str
    cells: Sequence[Pixels]


def draw_grid(title: str, note: str, rows: Sequence[GridRow]) -> Pixels:
    """Draw title and note, and the rows below them. Return uint8 RGB (height, width, 3)."""
    step = CELL + _GAP
    columns = max([4, *(len(row.cells) for row in rows)])
    sheet = np.full((_GAP + step * (len(rows) + 1), _TITLE_WIDTH + step * columns, 3), 255, np.uint8)
    _write(sheet, title, 30)
    _write(sheet, note, 52, _LIGHT)
    for number, row in enumerate(rows, 1):
        top = _GAP + number * step
        _write(sheet, row.title if len(row.title) <= _TITLE_LENGTH else f"{row.title[: _TITLE_LENGTH - 1]}…", top + 32)
        _write(sheet, row.note, top + 52, _LIGHT)
        for column, cell in enumerate(row.cells):
            left = _TITLE_WIDTH + column * step
            sheet[top : top + CELL, left : left + CELL] = cell
    return sheet


def thumbnail(data: Encoded) -> Pixels:
    """Return an encoded image as uint8 RGB (CELL, CELL, 3), cut to a square; grey where it cannot be decoded."""
    try:
        pixels = decode_rgb(data)
    except CorruptImage:
        return np.full((CELL, CELL, 3), _UNREADABLE, np.uint8)
    factor = CELL // max(pixels.shape[:2])
    if factor > 1:  # repeat pixels: interpolation would blur them
        pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return fit_rgb(pixels, CELL, CELL)


def draw_sheet(survey: Survey, cache: ShardCache) -> Pixels:
    """Draw a row for each of the first MAX_CLASSES classes, by label: name, sample count and picked images."""
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
        cv2.rectangle(cell, (0, 0), (CELL - 1, CELL - 1), _ORANGE, 2)
    return cell


def _write(sheet: Pixels, text: str, y: int, colour: Sequence[int] = _DARK) -> None:
    cv2.putText(sheet, text, (8, y), colour, cv2.FontFace("sans"), _FONT_SIZE, _FONT_WEIGHT)
