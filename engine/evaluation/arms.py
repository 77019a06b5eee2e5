"""Arms of a sweep: training configurations that are compared after the same number of steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.config.spec import Spec
from engine.config.sweep_spec import ORACLE
from engine.config.train_spec import DEFAULT_STEPS, TrainSpec
from engine.errors import SpecError


@dataclass(frozen=True)
class Arm:
    """One training configuration.

    alpha:   synthetic fraction on the curve; None for the oracle and for alternatives.
    train:   the training with seed 0.
    changes: what an alternative changes in `train`; None for other arms.
    """

    name: str
    alpha: float | None
    train: TrainSpec
    changes: dict[str, Any] | None = None


def arms_of(spec: Spec, real_train: int) -> tuple[Arm, ...]:
    """Return the arms: each alpha in ascending order, the oracle, then the alternatives.

    real_train: number of real train images. Raises SpecError if the arms would not be comparable.
    """
    if spec.train.epochs is not None:
        raise SpecError("train.epochs: a sweep gives every arm the same number of steps; give train.steps instead")
    steps = spec.train.steps or DEFAULT_STEPS
    fixed: dict[str, Any] = {"name": "sweep", "seed": 0, "alpha": 0.0, "total": None, "workers": 1, "steps": steps}
    # Only the last evaluation counts, unless an earlier one may end the training.
    fixed |= {} if spec.train.early_stopping else {"evaluate_every": steps}
    base = spec.train.model_copy(update=fixed)
    return (*_curve(spec, base, real_train), Arm(ORACLE, None, base), *_alternatives(spec, base))


def _curve(spec: Spec, base: TrainSpec, real_train: int) -> Iterator[Arm]:
    total = real_train if spec.sweep.fixed == "total" else None
    for alpha in sorted({0.0, *spec.sweep.alphas}):
        yield Arm(f"alpha-{alpha:g}", alpha, base.model_copy(update={"alpha": alpha, "total": total}))


def _alternatives(spec: Spec, base: TrainSpec) -> Iterator[Arm]:
    for name, changes in spec.sweep.arms.items():
        yield Arm(name, None, base.changed(changes), changes)
