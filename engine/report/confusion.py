"""Confusion matrices of the arms of a sweep."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.evaluation.sweep_result import ArmResult, SweepResult
from engine.report.even_choice import choose_evenly
from engine.report.verdict_text import arm_title

_MATRIX_CLASSES = 20
_LISTED_PAIRS = 20
_SHOWN_ARMS = 24


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were predicted as another. share: of all images of the true class, 0 to 1."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ConfusionMatrix:
    """The confusions of one arm, and its most frequent mistakes.

    cells: shares of each true class; None for a class without images, and altogether if there are too many classes.
    """

    title: str
    arm: ArmResult
    cells: Sequence[Sequence[float] | None] | None
    pairs: Sequence[ConfusedPair]


def confusion_matrices(sweep: SweepResult) -> list[ConfusionMatrix]:
    """Return the matrices of all arms; of many arms, those of the baseline, of alpha* and an even choice of others."""
    arms = sweep.by_name
    always = [sweep.baseline.name, sweep.chosen.name]
    others = choose_evenly([name for name in arms if name not in always], _SHOWN_ARMS - len(set(always)))
    return [_matrix(sweep, arm) for name, arm in arms.items() if name in always or name in others]


def _matrix(sweep: SweepResult, arm: ArmResult) -> ConfusionMatrix:
    sums = [sum(row) for row in arm.confusion]
    cells = [
        [count / total for count in row] if total else None for row, total in zip(arm.confusion, sums, strict=True)
    ]
    mistakes = [
        (count, true, predicted)
        for true, row in enumerate(arm.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    mistakes.sort(key=lambda mistake: (-mistake[0], mistake[1:]))
    pairs = [
        ConfusedPair(sweep.classes[true], sweep.classes[predicted], count, count / sums[true])
        for count, true, predicted in mistakes[:_LISTED_PAIRS]
    ]
    title = arm_title(arm, sweep.alpha_star)
    return ConfusionMatrix(title, arm, cells if len(sweep.classes) <= _MATRIX_CLASSES else None, pairs)
