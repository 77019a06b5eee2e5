"""Which class is taken for which, by the trainings of each arm."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.findings import Arm, Findings
from engine.report.pictures import spread

_DRAWN = 20
_PAIRS = 20
_ARMS = 24


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were taken for another one. share: of all images of the true class, 0 to 1."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """Of one arm.

    title: for the reader. cells: shares of the true class, 0 to 1, a row for each true class; None for a class that is
           not there, and all of it None where there are too many classes to be drawn.
    pairs: the most frequent mistakes, by count.
    """

    title: str
    arm: Arm
    cells: Sequence[Sequence[float] | None] | None
    pairs: Sequence[ConfusedPair]


def confusions(findings: Findings) -> list[Confusion]:
    """Of every arm, in the order of the charts; of very many, the baseline, alpha* and a choice of the others."""
    star = findings.alpha_star
    titled = [(f"alpha{'*' * (alpha == star)} {alpha:g}", arm) for alpha, arm in findings.arms.items()]
    titled += [(arm.title, arm) for arm in (*findings.alternatives, findings.oracle) if arm is not None]
    kept = [(title, arm) for title, arm in titled if arm in (findings.baseline, findings.chosen)]
    others = spread([one for one in titled if one not in kept], _ARMS - len(kept))
    return [_confusion(*one, findings.classes) for one in titled if one in kept or one in others]


def _confusion(title: str, arm: Arm, classes: Sequence[str]) -> Confusion:
    sums = [sum(row) for row in arm.confusion]
    rows = zip(arm.confusion, sums, strict=True)
    cells = [[count / total for count in row] if total else None for row, total in rows]
    wrong = [
        (count, true, predicted)
        for true, row in enumerate(arm.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    wrong.sort(key=lambda one: (-one[0], one[1:]))
    pairs = [
        ConfusedPair(classes[true], classes[other], count, count / sums[true]) for count, true, other in wrong[:_PAIRS]
    ]
    return Confusion(title, arm, cells if len(classes) <= _DRAWN else None, pairs)
