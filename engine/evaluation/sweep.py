"""Did it help, and at which alpha? Every training of the comparison, and the answer.

RUN/sweep/<arm>-<seed>.json   what one training says of validation and test
RUN/sweep/<arm>-<seed>.pt     where it stands, until it is done
RUN/sweep.json                every arm, and the answer
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from engine.config.sweep_spec import ORACLE
from engine.data import SPLITS
from engine.errors import SpecError
from engine.evaluation.arms import Arm, arms_of
from engine.run.leakage import prepare_real
from engine.run.run import Run
from engine.training.checkpoint import Checkpoint
from engine.training.classifier.train_worker import Worker
from engine.training.classifier.trainer import Tell, Trained, Trainer, silent
from engine.training.classifier.training_data import TrainData
from shards.storage.manifest import finished_shards
from shards.storage.retries import FileMissing
from shards.storage.store import Store

_TRIALS = "sweep"
JUDGED = ("validation", "test")


@dataclass(frozen=True)
class Trial:
    """One training: an arm at a seed."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """A finished run with its real images as shards: all that a trial needs, on any node that sees the place.

    fingerprint: of the images.
    """

    store: Store
    classes: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: int
    gpus_per_trial: float
    fingerprint: str

    def trials(self) -> list[Trial]:
        """Every training, all arms of a seed after another: what is stopped half-way compares what it has."""
        return [Trial(arm.name, seed) for seed in range(self.seeds) for arm in self.arms]

    def pending(self) -> list[Trial]:
        """Trials without a result."""
        return [trial for trial in self.trials() if self.result(trial) is None]

    def result(self, trial: Trial) -> dict[str, Any] | None:
        """What an earlier command found, if it was for these very settings and images."""
        try:
            found: dict[str, Any] = json.loads((self.store / _TRIALS).read(f"{trial.name}.json"))
        except FileMissing:
            return None
        return found if found.get("fingerprint") == self._fingerprint(trial) else None

    def run(self, trial: Trial, device: str, tell: Tell = silent) -> float:
        """Train and judge one trial, from its checkpoint on, and keep what it says; gives its quality on validation."""
        spec, place = self._arm(trial).at(trial.seed), self.store / _TRIALS
        worker = Worker(device=device, precision=spec.precision)
        checkpoint = Checkpoint(place, self._fingerprint(trial), f"{trial.name}.pt")
        trained = Trainer(spec, self._data(trial), worker, checkpoint).run(tell)
        place.replace(f"{trial.name}.json", f"{json.dumps(self._content(trial, trained))}\n".encode())
        checkpoint.remove()
        return trained.scores["validation"].quality

    @cached_property
    def _by_name(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in self.arms}

    def _arm(self, trial: Trial) -> Arm:
        return self._by_name[trial.arm]

    def _data(self, trial: Trial) -> TrainData:
        real, oracle = self.store / "real", trial.arm == ORACLE
        return TrainData(
            real=(real / ("world" if oracle else "train")).url,
            synthetic=None if oracle else (self.store / "shards").url,
            validation=(real / "validation").url,
            test=(real / "test").url if finished_shards(real / "test") else None,
            classes=self.classes,
        )

    def _fingerprint(self, trial: Trial) -> str:
        """Changes whenever the trial would come out differently."""
        settings = self._arm(trial).at(trial.seed).model_dump(mode="json", exclude={"checkpoint_every"})
        return hashlib.sha256(json.dumps([self.fingerprint, settings], sort_keys=True).encode()).hexdigest()

    def _content(self, trial: Trial, trained: Trained) -> dict[str, Any]:
        return {
            "arm": trial.arm,
            "alpha": self._arm(trial).alpha,
            "seed": trial.seed,
            "fingerprint": self._fingerprint(trial),
            "scores": {split: found.as_json() for split, found in trained.scores.items()},
            "predictions": {
                split: {name: np.round(value, 6).tolist() for name, value in found.as_columns().items()}
                for split, found in trained.predictions.items()
            },
        }


def prepare_sweep(run: Run) -> Sweep:
    """Write the real images as shards beside the synthetic ones, and settle what is trained.

    Raises what `prepare_real` raises, and SpecError for units that are to be made, an empty split, and arms that cannot
    be compared.
    """
    spec, missing = run.recipe.spec, len(run.pending())
    if missing:
        raise SpecError(f"{run.store}: {missing} units are not finished; run generate with the same spec first")
    splits = prepare_real(run, ("train", "validation"))
    arms = arms_of(spec, len(splits.train))
    if not splits.world:
        arms = tuple(arm for arm in arms if arm.name != ORACLE)
    digests = [image.digest for split in SPLITS for image in splits[split]]
    fingerprint = hashlib.sha256(json.dumps([run.recipe.plan.digest, digests]).encode()).hexdigest()
    classes, gpus = run.recipe.told_apart(spec.train), spec.cluster.gpus_per_actor
    return Sweep(run.store, classes, arms, spec.sweep.seeds, gpus, fingerprint)
