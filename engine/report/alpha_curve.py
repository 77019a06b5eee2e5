"""The chart of quality against alpha."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.evaluation.sweep_result import ArmResult, SweepResult
from engine.report.axis import Axis, fit_axis

_TICKS = 6
_TICK_DISTANCE = 10.0
"""Smallest distance of labelled alphas, in percent of the axis; closer labels would touch on a phone."""
_LABEL_HEIGHT = 13.0
"""Height of a two-line label, in percent of the axis."""


@dataclass(frozen=True)
class ReferenceLine:
    """A horizontal line at the quality of an arm. label_at: position of its label on the quality axis, in percent."""

    name: str
    arm: ArmResult
    label_at: float


@dataclass(frozen=True)
class AlphaCurve:
    """The axes of alpha and of quality, and the lines of the baseline and the oracle."""

    alpha: Axis
    quality: Axis
    references: Sequence[ReferenceLine]


def alpha_curve(sweep: SweepResult) -> AlphaCurve:
    """Return the chart's axes and lines; the template draws the arms."""
    arms = [*sweep.arms, *([] if sweep.oracle is None else [sweep.oracle])]
    quality = fit_axis(arm_values(arms), _TICKS)
    alphas = list(sweep.by_alpha)
    alpha = fit_axis([0.0, alphas[-1] or 1.0], _TICKS)
    alpha = replace(alpha, ticks=_spaced(alphas, alpha))
    return AlphaCurve(alpha, quality, _references(sweep, quality))


def arm_values(arms: Iterable[ArmResult]) -> list[float]:
    """Return every quality that a chart of these arms shows: ends of intervals and single trainings."""
    return [value for arm in arms for value in (arm.quality.low, arm.quality.high, *arm.quality_per_seed)]


def _spaced(alphas: Sequence[float], axis: Axis) -> tuple[float, ...]:
    """Return the alphas that have room for a label, from left to right."""
    chosen = [alphas[0]]
    for alpha in alphas[1:]:
        if axis.at(alpha) - axis.at(chosen[-1]) >= _TICK_DISTANCE:
            chosen.append(alpha)
    return tuple(chosen)


def _references(sweep: SweepResult, quality: Axis) -> list[ReferenceLine]:
    baseline = ReferenceLine("baseline", sweep.baseline, quality.at(sweep.baseline.quality.mean))
    if sweep.oracle is None:
        return [baseline]
    oracle = ReferenceLine("oracle", sweep.oracle, quality.at(sweep.oracle.quality.mean))
    push = max(0.0, _LABEL_HEIGHT - abs(oracle.label_at - baseline.label_at)) / 2
    sign = 1 if oracle.label_at >= baseline.label_at else -1
    return [
        replace(baseline, label_at=baseline.label_at - sign * push),
        replace(oracle, label_at=oracle.label_at + sign * push),
    ]
