"""One training in a folder: whether it is done, its files, and resuming it.

FOLDER/training.json        settings that it was begun with
FOLDER/checkpoint.pt        state of an unfinished training
FOLDER/events/              event files for TensorBoard
FOLDER/metrics.parquet      a row for each step, see `history`
FOLDER/predictions.parquet  a row for each real validation and test image, see `evaluate`
FOLDER/model.safetensors    the network, for `load_network`
FOLDER/result.json          the scores, see `train_result`; written last
"""

import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from engine.config.spec_file import differences
from engine.config.train_spec import DEFAULT_STEPS, TrainSpec
from engine.errors import RunMismatch
from engine.run.run import Run
from engine.training.checkpoint import Checkpoint
from engine.training.classifier.evaluate import Predictions
from engine.training.classifier.history import Row, TensorBoardWriter, as_parquet
from engine.training.classifier.network_factory import Network, dump_network, load_network
from engine.training.classifier.train_result import TrainResult
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.trainer import (
    ProgressCallback,
    TrainedClassifier,
    Trainer,
    initial_network,
    noop_progress,
)
from engine.training.classifier.training_data import TrainData, real_and_synthetic
from shards.storage.commit import sha256_of
from shards.storage.manifest import finished_shards, read_all_stats
from shards.storage.retries import FileMissing
from shards.storage.store import Store

MODEL = "model.safetensors"
_BEGUN = "training.json"
_WITHOUT_EFFECT = {"workers", "checkpoint_every"}  # settings that do not change the result
_LIBRARIES = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class ClassifierJob:
    """A training and the folder of its files. Pickles, and works on any node that can reach the shards and folder."""

    spec: TrainSpec
    data: TrainData
    store: Store

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that the result depends on: settings, first weights, and the content of the shards."""
        locations = (self.data.real, self.data.synthetic, self.data.validation, self.data.test)
        stats = [read_all_stats(location) for location in locations if location is not None]
        hashes = [[file["sha256"] for shard in shards.values() for file in shard["files"]] for shards in stats]
        evaluated = [stream.fingerprint() for stream in self.data.evaluation_streams(self.spec, 1).values()]
        mix = self.data.mix(self.spec, 1).state_dict()["mix"]
        file = Path(self.spec.weights or "")
        weights = sha256_of(file) if file.is_file() else None
        content = [self._settings, weights, self.data.classes, hashes, mix, evaluated]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def _settings(self) -> dict[str, Any]:
        return self.spec.model_dump(mode="json", exclude=_WITHOUT_EFFECT)

    def begin(self) -> None:
        """Reserve the folder. Raises SpecError, DataError, ModelError or NotReal; RunMismatch if it holds another."""
        try:
            begun = json.loads(self.store.read(_BEGUN))
        except FileMissing:
            self.initial_model()  # Report its errors before worker processes are started.
            begun = {"fingerprint": self.fingerprint, "settings": self._settings}
            self.store.replace(_BEGUN, f"{json.dumps(begun, indent=1)}\n".encode())
        if begun["fingerprint"] != self.fingerprint:
            changes = "; ".join(differences(begun["settings"], self._settings)[:4]) or "other images"
            raise RunMismatch(
                f"{self.store} holds another training ({changes}); give this one its own train.name, or remove that"
            )

    def result(self) -> TrainResult | None:
        """Return the result, or None before the end."""
        return TrainResult.read(self.store)

    def run(self, worker: TrainWorker, on_progress: ProgressCallback = noop_progress) -> TrainedClassifier:
        """Train on one of the workers, from the checkpoint on. Rank 0 writes the files."""
        began = time.monotonic()
        checkpoint = Checkpoint(self.store, self.fingerprint)
        trainer = Trainer(self.spec, self.data, worker, checkpoint)
        if worker.rank:
            return trainer.run()
        with self._tensorboard(trainer.done) as tensorboard:

            def record(rows: Sequence[Row], step: int, steps: int) -> None:
                tensorboard.add(rows)
                on_progress(rows, step, steps)

            trained = trainer.run(record)
        self._write(trained, worker, trainer.steps, round(time.monotonic() - began, 1))
        checkpoint.remove()
        self.store.sweep()
        return trained

    def initial_model(self) -> Network:
        """Return the network before the training."""
        real, _ = real_and_synthetic(self.data.mix(self.spec, 1))
        return initial_network(self.spec, self.data.classes, real)

    def trained_model(self) -> Network:
        """Return the network of a finished training."""
        with self.store.local_copy(MODEL) as path:
            return load_network(path)

    @contextmanager
    def _tensorboard(self, start: int) -> Iterator[TensorBoardWriter]:
        """Open event files. Those of a bucket are written to a temporary folder and copied at the end."""
        store = self.store / "events"
        with TemporaryDirectory() as folder:
            writer = TensorBoardWriter(store.local or Path(folder), start, self.data.classes)
            try:
                yield writer
            finally:
                writer.close()
                for file in Path(folder).iterdir():
                    store.replace(file.name, file.read_bytes())

    def _write(self, trained: TrainedClassifier, worker: TrainWorker, steps: int, seconds: float) -> None:
        self.store.replace("metrics.parquet", as_parquet(trained.rows))
        self.store.replace("predictions.parquet", _predictions_table(trained))
        self.store.replace(MODEL, dump_network(trained.model))
        result = TrainResult(
            name=self.spec.name,
            fingerprint=self.fingerprint,
            settings=self.spec,
            classes=self.data.classes,
            step=trained.step,
            last_step=len(trained.rows),
            steps=steps,
            validation=trained.scores["validation"],
            test=trained.scores.get("test"),
            workers=worker.world_size,
            device=_device(worker),
            seconds_since_last_start=seconds,
            versions={name: version(name) for name in _LIBRARIES},
        )
        result.write(self.store)


def open_job(run: Run, spec: TrainSpec) -> ClassifierJob:
    """Return the training in RUN/train/NAME. `leakage.prepare_real` must have written the run's real shards."""
    real = run.store / "real"
    data = TrainData(
        real=(real / "train").url,
        synthetic=run.shards.url if finished_shards(run.shards) else None,
        validation=(real / "validation").url,
        test=(real / "test").url if finished_shards(real / "test") else None,
        classes=run.context.label_names(spec),
    )
    return ClassifierJob(spec, data, run.store / "train" / spec.name)


def train_encoder(run: Run) -> Network:
    """Train the default classifier on the world split, which no other classifier sees: its features compare images.

    Every call on one machine returns the same network. `leakage.prepare_real` must have written the real shards.
    """
    real = run.store / "real"
    steps = run.context.spec.train.steps or DEFAULT_STEPS
    judge = next(split for split in ("validation", "train", "world") if finished_shards(real / split))
    data = TrainData((real / "world").url, None, (real / judge).url, None, run.context.plan.classes)
    return Trainer(TrainSpec(alpha=0.0, steps=steps, evaluate_every=steps), data, TrainWorker()).run().model


def _predictions_table(trained: TrainedClassifier) -> bytes:
    """Return a parquet table with split, key and quality; of a classifier also label, predicted and confidence."""
    tables = []
    for split, predictions in trained.predictions.items():
        label = {"label": predictions.label} if isinstance(predictions, Predictions) else {}
        samples = {"split": [split] * len(predictions.quality), "key": trained.keys[split]}
        tables.append(pa.table({**samples, **label, **predictions.as_columns()}))
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), sink)
    return sink.getvalue()


def _device(worker: TrainWorker) -> str:
    if torch.device(worker.device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
