"""Synthetic images beside what else could be done, and beside the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.axis import Axis, axis
from engine.report.findings import Arm, Findings

_TICKS = 4


@dataclass(frozen=True)
class Contender:
    """An arm as it is compared. colour: real, or synthetic where it saw such images. star: whether it is alpha*."""

    name: str
    colour: str
    arm: Arm
    star: bool = False

    @property
    def settings(self) -> str:
        """What sets an alternative apart, in words."""
        return ", ".join(f"{name} {_told(value)}" for name, value in self.arm.settings.items())


@dataclass(frozen=True)
class Comparison:
    """Contenders on one axis."""

    contenders: Sequence[Contender]
    axis: Axis

    @property
    def f1(self) -> bool:
        """Whether macro F1 is known."""
        return any(one.arm.macro_f1 is not None for one in self.contenders)


def compare(findings: Findings) -> Comparison:
    """The baseline, the alternatives, alpha* (where that is 0, the best mixture) and the oracle."""
    mixture = findings.alpha_star or findings.best_mixture
    contenders = [Contender("real images alone", "real", findings.baseline, findings.alpha_star == 0)]
    for arm in findings.alternatives:
        contenders.append(Contender(arm.title, "real" if arm.settings.get("alpha", 0) == 0 else "synthetic", arm))
    if mixture is not None:
        star = mixture == findings.alpha_star
        name = f"synthetic images, alpha{'*' * star} = {mixture:g}"
        contenders.append(Contender(name, "synthetic", findings.arms[mixture], star))
    if findings.oracle is not None:
        contenders.append(Contender("oracle", "real", findings.oracle))
    arms = [one.arm for one in contenders]
    values = [value for arm in arms for value in (arm.quality.low, arm.quality.high, *arm.points)]
    return Comparison(contenders, axis(values, _TICKS))


def _told(value: object) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {_told(one)}' for name, one in value.items())})"
    return "null" if value is None else str(value)
