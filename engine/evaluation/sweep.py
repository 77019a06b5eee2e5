"""The trainings of a sweep. Each compares with the others at equal steps, on the same real validation images.

RUN/sweep/<arm>-<seed>.json   result of one training
RUN/sweep/<arm>-<seed>.pt     checkpoint of one training, until it is done
RUN/sweep.json                comparison of all arms
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config.spec import ORACLE, Spec
from engine.config.train_spec import DEFAULT_STEPS, TrainSpec
from engine.data.splits import SPLITS
from engine.errors import SpecError
from engine.evaluation.sweep_result import TrialPredictions, TrialResult
from engine.run.leakage import prepare_real
from engine.run.run import Run
from engine.training.checkpoint import Checkpoint
from engine.training.classifier.evaluate import MaskPredictions, Predictions
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.trainer import ProgressCallback, Trainer, noop_progress
from engine.training.classifier.training_data import TrainData
from shards.storage.manifest import finished_shards
from shards.storage.store import Store

_FOLDER = "sweep"
JUDGED = ("validation", "test")
"""Splits that trained networks are judged on."""


@dataclass(frozen=True)
class Arm:
    """One training configuration, with seed 0.

    alpha: synthetic fraction on the curve; None for the oracle and for alternatives.
    changes: what an alternative changes in `train`; None for other arms.
    """

    name: str
    alpha: float | None
    train: TrainSpec
    changes: dict[str, Any] | None = None


def arms_of(spec: Spec, real_train: int) -> tuple[Arm, ...]:
    """Return the arms: each alpha in ascending order, the oracle, the alternatives. Raises SpecError."""
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


@dataclass(frozen=True)
class Trial:
    """One training: an arm with a seed."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """Everything that a trial needs, on any node that can read `store`: a finished run with its real images as shards.

    fingerprint: digest of the plan and all real images.
    """

    store: Store
    classes: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: int
    gpus_per_trial: float
    fingerprint: str

    def trials(self) -> list[Trial]:
        """Return all trainings, seed by seed, so that an interrupted sweep has equally many of each arm."""
        return [Trial(arm.name, seed) for seed in range(self.seeds) for arm in self.arms]

    def pending(self) -> list[Trial]:
        """Return the trials without a result."""
        return [trial for trial in self.trials() if self.result(trial) is None]

    def result(self, trial: Trial) -> TrialResult | None:
        """Return the result of a trial if it was trained with equal settings and images."""
        result = TrialResult.read(self.store / _FOLDER, f"{trial.name}.json")
        return result if result is not None and result.fingerprint == self.fingerprint_of(trial) else None

    def run(self, trial: Trial, device: str, tell: ProgressCallback = noop_progress) -> float:
        """Train and judge one trial, from its checkpoint if there is one. Write its result and return its quality."""
        spec, folder, fingerprint = self._spec(trial), self.store / _FOLDER, self.fingerprint_of(trial)
        worker = TrainWorker(device=device, precision=spec.precision)
        checkpoint = Checkpoint(folder, fingerprint, f"{trial.name}.pt")
        trained = Trainer(spec, self._data(trial), worker, checkpoint).run(tell)
        result = TrialResult(
            arm=trial.arm,
            seed=trial.seed,
            fingerprint=fingerprint,
            scores=dict(trained.scores),
            predictions={split: trial_predictions(of_split) for split, of_split in trained.predictions.items()},
        )
        result.write(folder, f"{trial.name}.json")
        checkpoint.remove()
        return trained.scores["validation"].quality

    def fingerprint_of(self, trial: Trial) -> str:
        """Return a digest of everything that the result of a trial depends on."""
        settings = self._spec(trial).model_dump(mode="json", exclude={"checkpoint_every"})
        return hashlib.sha256(json.dumps([self.fingerprint, settings], sort_keys=True).encode()).hexdigest()

    def _spec(self, trial: Trial) -> TrainSpec:
        train = next(arm.train for arm in self.arms if arm.name == trial.arm)
        return train.model_copy(update={"seed": trial.seed})

    def _data(self, trial: Trial) -> TrainData:
        real, oracle = self.store / "real", trial.arm == ORACLE
        return TrainData(
            real=(real / ("world" if oracle else "train")).url,
            synthetic=None if oracle else (self.store / "shards").url,
            validation=(real / "validation").url,
            test=(real / "test").url if finished_shards(real / "test") else None,
            classes=self.classes,
        )


def trial_predictions(predictions: Predictions | MaskPredictions) -> TrialPredictions:
    """Return what a trial's result keeps of predictions, rounded to six digits."""
    columns = predictions.as_columns()
    return TrialPredictions(**{name: tuple(np.round(column, 6).tolist()) for name, column in columns.items()})


def prepare_sweep(run: Run) -> Sweep:
    """Write a run's real images as shards and return the trainings to compare.

    Raises what `prepare_real` raises, and SpecError for unfinished units and arms that cannot be compared.
    """
    spec, missing = run.context.spec, len(run.pending())
    if missing:
        raise SpecError(f"{run.store}: {missing} units are not finished; run generate with the same spec first")
    splits = prepare_real(run, ("train", "validation"))
    arms = arms_of(spec, len(splits.train))
    if not splits.world:
        arms = tuple(arm for arm in arms if arm.name != ORACLE)
    digests = [image.digest for split in SPLITS for image in splits[split]]
    fingerprint = hashlib.sha256(json.dumps([run.context.plan.digest, digests]).encode()).hexdigest()
    classes, gpus = run.context.label_names(spec.train), spec.cluster.gpus_per_actor
    return Sweep(run.store, classes, arms, spec.sweep.seeds, gpus, fingerprint)
