"""The charts of the quality of a sweep's arms: against alpha, and beside alternatives and the oracle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.evaluation.sweep_result import ArmResult, SweepResult
from engine.report.axis import Axis, fit_axis
from engine.report.verdict_text import arm_title

_TICKS, _FEW_TICKS = 6, 4
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


@dataclass(frozen=True)
class ComparedArm:
    """An arm. colour: "real" if it trains on real images alone, else "synthetic". chosen: whether it is at alpha*."""

    title: str
    colour: str
    arm: ArmResult
    chosen: bool = False

    @property
    def changes(self) -> str:
        """The settings that an alternative changes, as text."""
        return ", ".join(f"{name} {_setting(value)}" for name, value in self.arm.changes.items())


@dataclass(frozen=True)
class AlternativesChart:
    """Arms on one axis of quality."""

    arms: Sequence[ComparedArm]
    axis: Axis


def alternatives_chart(sweep: SweepResult) -> AlternativesChart:
    """Return baseline, alternatives, the arm at alpha* (if that is 0, the best mixture) and oracle, in this order."""
    compared = [ComparedArm("real images alone", "real", sweep.baseline, sweep.alpha_star == 0)]
    for arm in sweep.alternatives:
        colour = "real" if arm.changes.get("alpha", 0) == 0 else "synthetic"
        compared.append(ComparedArm(arm_title(arm), colour, arm))
    if (mixture := sweep.best_mixture) is not None:
        chosen = mixture is sweep.chosen
        title = f"synthetic images, {'alpha*' if chosen else 'alpha'} = {mixture.alpha:g}"
        compared.append(ComparedArm(title, "synthetic", mixture, chosen))
    if sweep.oracle is not None:
        compared.append(ComparedArm("oracle", "real", sweep.oracle))
    return AlternativesChart(compared, fit_axis(arm_values(row.arm for row in compared), _FEW_TICKS))


def _setting(value: object) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {_setting(part)}' for name, part in value.items())})"
    return "null" if value is None else str(value)
