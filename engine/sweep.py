"""Did it help, and at which alpha? The arms of the comparison, what they are trained and judged on, and the answer.

RUN/sweep/<arm>-<seed>.json   predictions of one training on validation and test
RUN/sweep.json                every accuracy, and the answer
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import DataError, RunMismatch, SpecError
from engine.generators.base import ModelSettings
from engine.intervals import Answer, answer
from engine.models import learned_digests
from engine.operations.estimate import image_shape
from engine.realshards import write_real_shards
from engine.run import Run
from engine.sources import SPLITS, Splits, load_splits
from engine.spec.sweep import SweepSpec
from shards import MixedStream, ShardStream
from shards.finished import finished, read_rows
from shards.retries import Missing
from shards.store import Store

if TYPE_CHECKING:
    from engine.classifier import SmallCnn

ORACLE = "oracle"
_TRIALS = "sweep"


@dataclass(frozen=True)
class Trial:
    """One training. alpha: synthetic fraction, or None for the oracle, which has all real images of the world split."""

    alpha: float | None
    seed: int

    @property
    def arm(self) -> str:
        """Name of the arm that it is part of."""
        return ORACLE if self.alpha is None else f"alpha-{self.alpha:g}"


@dataclass(frozen=True)
class Sweep:
    """A finished run with its real images as shards: all that a trial needs, on any node that sees the place.

    fingerprint: changes whenever a trial of the same name would come out differently.
    """

    store: Store
    classes: tuple[str, ...]
    settings: SweepSpec
    gpus_per_trial: float
    fingerprint: str

    def trials(self) -> list[Trial]:
        """Every training: the baseline, each alpha and the oracle, at each seed."""
        alphas = sorted({0.0, *self.settings.alphas})
        return [Trial(alpha, seed) for seed in range(self.settings.seeds) for alpha in (*alphas, None)]

    def pending(self) -> list[Trial]:
        """Trials without a result."""
        return [trial for trial in self.trials() if self.result(trial) is None]

    def result(self, trial: Trial) -> dict[str, Any] | None:
        """What an earlier command found, if it was for these very settings."""
        try:
            found = json.loads((self.store / _TRIALS).read(_file(trial)))
        except Missing:
            return None
        return found if found.get("fingerprint") == self.fingerprint else None

    def run(self, trial: Trial, device: str) -> float:
        """Train and judge one trial, and keep its predictions; gives its accuracy on real validation."""
        from engine.classifier import predict, train_classifier

        model = train_classifier(self._training(trial), len(self.classes), self.settings, trial.seed, device)
        judged = {split: self._real(split, shuffle=False) for split in ("validation", "test")}
        predictions = {split: predict(model, stream, device) for split, stream in judged.items() if stream is not None}
        content = {
            **asdict(trial),
            "fingerprint": self.fingerprint,
            **{split: found.tolist() for split, found in predictions.items()},
        }
        (self.store / _TRIALS).replace(_file(trial), f"{json.dumps(content)}\n".encode())
        return float((predictions["validation"] == self.labels("validation")).mean())

    def train_encoder(self) -> "SmallCnn":
        """A classifier trained on the real world split alone, whose features tell images apart."""
        from engine.classifier import train_classifier

        return train_classifier(self._training(Trial(None, 0)), len(self.classes), self.settings, 0, "cpu")

    def labels(self, split: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """True labels of a real split, in the order of predictions."""
        stream = self._real(split, shuffle=False)
        return np.array([], np.int64) if stream is None else stream.index.label

    def _training(self, trial: Trial) -> MixedStream:
        if trial.alpha is None:
            return self._mixed("world", 0.0, trial.seed)
        return self._mixed("train", trial.alpha, trial.seed)

    def _mixed(self, split: str, alpha: float, seed: int) -> MixedStream:
        real = self._real(split, shuffle=True, seed=seed)
        synthetic = ShardStream((self.store / "shards").url, seed=seed, threads=1) if alpha > 0 else None
        return MixedStream(real, synthetic, alpha, batch_size=self.settings.batch_size, seed=seed)

    def _real(self, split: str, *, shuffle: bool, seed: int = 0) -> ShardStream | None:
        real = self.store / "real" / split
        if not finished(real):
            return None
        return ShardStream(real.url, seed=seed, shuffle=shuffle, real_only=True, threads=1)


def prepare_sweep(run: Run) -> Sweep:
    """Write the real images as shards beside the synthetic ones, and check that no split has seen another.

    Raises SpecError for a run without real data or with units to make, DataError where splits overlap.
    """
    spec, missing = run.recipe.spec, len(run.pending())
    if spec.data is None:
        raise SpecError("data: a sweep compares with real images, and the spec has none")
    if missing:
        raise SpecError(f"{run.store}: {missing} units are not finished; run generate with the same spec first")
    splits = load_splits(spec.data)
    for split in ("train", "validation"):
        if not splits[split]:
            raise SpecError(f"data.splits.{split}: no image falls into it; give it a larger share")
    _check_unseen(splits, spec.model)
    write_real_shards(splits, run.store / "real", spec.output.image, image_shape(run))
    check_disjoint(run.store / "real")
    digests = [image.digest for split in SPLITS for image in splits[split]]
    content = [run.recipe.plan.digest, spec.sweep.model_dump(exclude={"alphas", "seeds"}), digests]
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Sweep(run.store, splits.classes, spec.sweep, spec.cluster.gpus_per_actor, fingerprint)


def check_disjoint(real: Store) -> None:
    """Raises DataError where the same image stands in two splits on disk."""
    seen: dict[str, str] = {}
    for split in SPLITS:
        for row in read_rows(real / split, ["digest", "origin"]):
            other = seen.setdefault(row["digest"], split)
            if other != split:
                raise DataError(f"{row['origin']} is in {other} and in {split}; remove {real} and sweep again")


def _check_unseen(splits: Splits, model: ModelSettings) -> None:
    for split in ("train", "validation", "test"):
        learned = learned_digests(model, split)
        for image in splits[split]:
            if image.digest in learned:
                raise DataError(
                    f"{image.origin} of the {split} split is one of the images that {model.source} or an adapter of it "
                    "was trained on; give data the splits that the generator was trained with"
                )


def write_sweep(sweep: Sweep) -> Answer:
    """Write sweep.json from the results of all trials. Raises RunMismatch where one is missing."""
    results = {trial: sweep.result(trial) for trial in sweep.trials()}
    if missing := [trial for trial, found in results.items() if found is None]:
        raise RunMismatch(f"{sweep.store}: {len(missing)} trials have no result; run the same command again")
    correct = {
        split: _correct({trial: found[split] for trial, found in results.items() if found}, sweep.labels(split))
        for split in ("validation", "test")
        if len(sweep.labels(split))
    }
    found = answer(correct["validation"], correct.get("test"))
    points = [
        {
            "alpha": trial.alpha,
            "seed": trial.seed,
            "accuracy": float(correct["validation"][trial.alpha][trial.seed].mean()),
        }
        for trial in results
    ]
    content = {
        **found.as_json(),
        "points": [point for point in points if point["alpha"] is not None],
        "oracle_points": [point for point in points if point["alpha"] is None],
        "classes": sweep.classes,
        "settings": sweep.settings.model_dump(mode="json"),
        "real": {split: len(sweep.labels(split)) for split in SPLITS},
        "fingerprint": sweep.fingerprint,
    }
    sweep.store.replace("sweep.json", f"{json.dumps(content, indent=1)}\n".encode())
    for store in (sweep.store, sweep.store / _TRIALS):
        store.sweep()
    return found


def _file(trial: Trial) -> str:
    return f"{trial.arm}-{trial.seed}.json"


def _correct(
    predictions: dict[Trial, list[int]], labels: "np.ndarray[Any, np.dtype[np.int64]]"
) -> dict[float | None, "np.ndarray[Any, np.dtype[np.bool_]]"]:
    """For each alpha, and None for the oracle, whether each prediction is right: bool (seeds, images)."""
    arms: dict[float | None, list[Any]] = {}
    for trial, found in sorted(predictions.items(), key=lambda item: item[0].seed):
        arms.setdefault(trial.alpha, []).append(np.array(found) == labels)
    return {alpha: np.stack(rows) for alpha, rows in arms.items()}
