"""Synthetic images compared with alternatives and with the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.evaluation.sweep_result import ArmResult, SweepResult
from engine.report.alpha_curve import arm_values
from engine.report.axis import Axis, fit_axis
from engine.report.verdict_text import arm_title

_TICKS = 4


@dataclass(frozen=True)
class ComparedArm:
    """An arm of the comparison.

    colour: "real" if the arm trains on real images alone, else "synthetic".
    chosen: whether it is the arm at alpha*.
    """

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

    @property
    def has_macro_f1(self) -> bool:
        """Whether macro F1 is known; it is not for masks."""
        return any(compared.arm.macro_f1 is not None for compared in self.arms)


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
    return AlternativesChart(compared, fit_axis(arm_values(row.arm for row in compared), _TICKS))


def _setting(value: object) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {_setting(part)}' for name, part in value.items())})"
    return "null" if value is None else str(value)
