"""The gain in recall of each class against the distance of its synthetic images from real ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.evaluation.measure_result import ALL_CLASSES, REAL, Column, MeasureResult
from engine.evaluation.sweep_result import SweepResult
from engine.report.axis import Axis, fit_axis
from engine.report.even_choice import choose_evenly

_TICKS = 5
_FEWEST_CLASSES, _MOST_LABELS, _MOST_DOTS = 2, 60, 400
# Sizes in pixels of the chart on a phone. Labels that do not touch there do not touch in a wider chart either.
_WIDTH, _HEIGHT, _DOT, _LETTER, _LINE = 205, 320, 12, 7.0, 15

_Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class ClassDot:
    """A class. gain: in recall, -1 to 1. side: of the dot that has room for the label; "" if none has."""

    name: str
    distance: float
    gain: float
    side: str


@dataclass(frozen=True)
class GainScatter:
    """A dot for each class, or for an even choice of many. alpha: of the mixture. classes: that could be compared."""

    alpha: float
    classes: int
    distance_title: str
    dots: Sequence[ClassDot]
    distance: Axis
    gain: Axis


def gain_scatter(sweep: SweepResult, measured: MeasureResult) -> GainScatter | None:
    """Return the chart, or None if fewer than two classes can be compared."""
    # A class often has few images, so that a distance without a standard error says little about it.
    column = next((column for column in measured.columns if column.standard_error is not None), None)
    mixture = sweep.best_mixture
    if column is None or mixture is None or mixture.alpha is None:
        return None
    distances = class_distances(measured, column)
    recalls = zip(sweep.classes, mixture.recall, sweep.baseline.recall, strict=True)
    known = [(n, a - b) for n, a, b in recalls if a is not None and b is not None and n in distances]
    if len(known) < _FEWEST_CLASSES:
        return None
    gains = dict(choose_evenly(known, _MOST_DOTS))
    across, up = fit_axis([distances[name] for name in gains], _TICKS), fit_axis([0.0, *gains.values()], _TICKS)
    centres = [
        (_WIDTH * across.at(distances[name]) / 100, _HEIGHT * (1 - up.at(gain) / 100)) for name, gain in gains.items()
    ]
    sides = _label_sides(list(gains), centres) if len(gains) <= _MOST_LABELS else [""] * len(gains)
    dots = [
        ClassDot(name, distances[name], gain, side) for (name, gain), side in zip(gains.items(), sides, strict=True)
    ]
    return GainScatter(mixture.alpha, len(known), column.title, dots, across, up)


def class_distances(measured: MeasureResult, column: Column) -> Mapping[str, float]:
    """Return a column's value of each class: the mean over prompt strategies, weighted by their images."""
    weighted: dict[str, float] = {}
    images: dict[str, int] = {}
    for row in measured.rows:
        value = row.values[column.name]
        if row.class_name != ALL_CLASSES and row.strategy != REAL and value is not None:
            weighted[row.class_name] = weighted.get(row.class_name, 0.0) + row.images * value
            images[row.class_name] = images.get(row.class_name, 0) + row.images
    return {name: total / images[name] for name, total in weighted.items()}


def _label_sides(names: Sequence[str], centres: Sequence[tuple[float, float]]) -> list[str]:
    """Return for each dot the first side on which its label touches no dot, no other label and no edge."""
    taken: list[_Box] = [(x - _DOT / 2, y - _DOT / 2, x + _DOT / 2, y + _DOT / 2) for x, y in centres]
    sides = []
    for name, centre in zip(names, centres, strict=True):
        free = ((side, box) for side, box in _label_boxes(name, centre) if _is_free(box, taken))
        side, box = next(free, ("", None))
        sides.append(side)
        if box is not None:
            taken.append(box)
    return sides


def _label_boxes(name: str, centre: tuple[float, float]) -> Iterator[tuple[str, _Box]]:
    (x, y), width, offset = centre, _LETTER * len(name), _DOT / 2 + 1
    yield "right", (x + offset, y - _LINE / 2, x + offset + width, y + _LINE / 2)
    yield "left", (x - offset - width, y - _LINE / 2, x - offset, y + _LINE / 2)
    yield "above", (x - width / 2, y - offset - _LINE, x + width / 2, y - offset)
    yield "below", (x - width / 2, y + offset, x + width / 2, y + offset + _LINE)


def _is_free(box: _Box, taken: Sequence[_Box]) -> bool:
    left, top, right, bottom = box
    inside = left >= 0 and right <= _WIDTH and top >= 0 and bottom <= _HEIGHT
    return inside and not any(left < x and right > a and top < y and bottom > b for a, b, x, y in taken)
