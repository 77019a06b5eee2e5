"""A picture of rows: a title, a note, and images cut to squares."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from shards.codec import CorruptImage, Encoded, Pixels, decode_rgb, fit_rgb

CELL = 72
"""Pixels of an image's sides in the grid."""
_GAP, _NAMES, _TEXT, _WEIGHT, _LETTERS = 4, 200, 14, 500, 24
_INK, _PALE, _GREY = (20, 20, 20), (130, 130, 130), 200


@dataclass(frozen=True)
class GridRow:
    """cells: see `thumbnail`."""

    title: str
    note: str
    cells: Sequence[Pixels]


def draw_grid(title: str, note: str, rows: Sequence[GridRow]) -> Pixels:
    """Title and note, and below them the rows. uint8 RGB (height, width, 3)."""
    step = CELL + _GAP
    columns = max([4, *(len(row.cells) for row in rows)])
    sheet = np.full((_GAP + step * (len(rows) + 1), _NAMES + step * columns, 3), 255, np.uint8)
    _write(sheet, title, 30)
    _write(sheet, note, 52, _PALE)
    for number, row in enumerate(rows, 1):
        top = _GAP + number * step
        _write(sheet, row.title if len(row.title) <= _LETTERS else f"{row.title[: _LETTERS - 1]}…", top + 32)
        _write(sheet, row.note, top + 52, _PALE)
        for column, cell in enumerate(row.cells):
            left = _NAMES + column * step
            sheet[top : top + CELL, left : left + CELL] = cell
    return sheet


def thumbnail(data: Encoded) -> Pixels:
    """An encoded image as uint8 RGB (CELL, CELL, 3), cut to a square; grey where it is none, for a sheet shows what
    there is."""
    try:
        pixels = decode_rgb(data)
    except CorruptImage:
        return np.full((CELL, CELL, 3), _GREY, np.uint8)
    times = CELL // max(pixels.shape[:2])
    if times > 1:  # larger pixels, not smoother ones
        pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    return fit_rgb(pixels, CELL, CELL)


def _write(sheet: Pixels, text: str, y: int, colour: Sequence[int] = _INK) -> None:
    cv2.putText(sheet, text, (8, y), colour, cv2.FontFace("sans"), _TEXT, _WEIGHT)
