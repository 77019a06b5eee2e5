"""What each class gained, against how far its synthetic images are from real ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.report.axis import Axis, axis
from engine.report.findings import Findings
from engine.report.pictures import spread

_TICKS = 5
_FEWEST, _NAMED, _MOST = 2, 60, 400
# The box of the drawing on a phone, in pixels: names that do not touch there do not touch in a wider one.
_WIDTH, _HEIGHT, _DOT, _LETTER, _LINE = 205, 320, 12, 7.0, 15

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """A class. gain: of its recall, -1 to 1. side: of the dot where its name has room; "" where there is none."""

    name: str
    kid: float
    gain: float
    side: str


@dataclass(frozen=True)
class Scatter:
    """alpha: of the arm that is compared with the baseline. classes: how many there are; marks: of these, evenly chosen
    where they are very many. across: KID; up: gain."""

    alpha: float
    classes: int
    marks: Sequence[Mark]
    across: Axis
    up: Axis


def scatter(findings: Findings, kids: Mapping[str, float]) -> Scatter | None:
    """None where there are no two classes to be compared. kids: of each class."""
    alpha = findings.alpha_star or findings.best_mixture
    if alpha is None:
        return None
    pairs = zip(findings.classes, findings.arms[alpha].recall, findings.baseline.recall, strict=True)
    known = [(n, a - b) for n, a, b in pairs if a is not None and b is not None and n in kids]
    if len(known) < _FEWEST:
        return None
    gains = dict(spread(known, _MOST))
    across, up = axis([kids[name] for name in gains], _TICKS), axis([0.0, *gains.values()], _TICKS)
    places = [(_WIDTH * across.at(kids[name]) / 100, _HEIGHT * (1 - up.at(gains[name]) / 100)) for name in gains]
    sides = _sides(list(gains), places) if len(gains) <= _NAMED else [""] * len(gains)
    marks = [Mark(name, kids[name], gain, side) for (name, gain), side in zip(gains.items(), sides, strict=True)]
    return Scatter(alpha, len(known), marks, across, up)


def _sides(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """For each dot the first side on which its name touches no dot, no other name and no edge."""
    taken: list[_Box] = [(x - _DOT / 2, y - _DOT / 2, x + _DOT / 2, y + _DOT / 2) for x, y in places]
    found = []
    for name, place in zip(names, places, strict=True):
        free = ((side, box) for side, box in _boxes(name, place) if _fits(box, taken))
        side, box = next(free, ("", None))
        found.append(side)
        if box is not None:
            taken.append(box)
    return found


def _boxes(name: str, place: tuple[float, float]) -> Iterator[tuple[str, _Box]]:
    (x, y), width, off = place, _LETTER * len(name), _DOT / 2 + 1
    yield "right", (x + off, y - _LINE / 2, x + off + width, y + _LINE / 2)
    yield "left", (x - off - width, y - _LINE / 2, x - off, y + _LINE / 2)
    yield "above", (x - width / 2, y - off - _LINE, x + width / 2, y - off)
    yield "below", (x - width / 2, y + off, x + width / 2, y + off + _LINE)


def _fits(box: _Box, taken: Sequence[_Box]) -> bool:
    left, top, right, bottom = box
    inside = left >= 0 and right <= _WIDTH and top >= 0 and bottom <= _HEIGHT
    return inside and not any(left < x and right > a and top < y and bottom > b for a, b, x, y in taken)
