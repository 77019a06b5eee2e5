"""One training in a folder: whether it is done, its files, and going on with it.

PLACE/training.json        what it was begun with
PLACE/checkpoint.pt        where it stands, until it is done
PLACE/events/              event files for TensorBoard
PLACE/metrics.parquet      a row for each step, see `history`
PLACE/predictions.parquet  of each real validation and test image, see `evaluate`
PLACE/model.safetensors    the network, for `models.load`
PLACE/result.json          the scores; written last
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
from engine.config.train_spec import TrainSpec
from engine.errors import RunMismatch
from engine.run.run import Run
from engine.training.checkpoint import Checkpoint
from engine.training.classifier.evaluate import Predictions
from engine.training.classifier.history import Row, TensorBoardWriter, as_parquet
from engine.training.classifier.network_factory import Network, dump_network, load_network
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

MODEL, RESULT = "model.safetensors", "result.json"
_BEGUN = "training.json"
_CHANGES_NOTHING = {"workers", "checkpoint_every"}
_LIBRARIES = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class ClassifierJob:
    """A training and the place of its files. Pickles, and works on any node that sees the places."""

    spec: TrainSpec
    data: TrainData
    store: Store

    @cached_property
    def fingerprint(self) -> str:
        """Of all that the result follows from: settings, and what the shards hold."""
        places = (self.data.real, self.data.synthetic, self.data.validation, self.data.test)
        stats = [read_all_stats(place) for place in places if place is not None]
        hashes = [[file["sha256"] for one in found.values() for file in one["files"]] for found in stats]
        judged = [stream.fingerprint() for stream in self.data.judged(self.spec, 1).values()]
        mix = self.data.mix(self.spec, 1).state_dict()["mix"]
        file = Path(self.spec.weights or "")
        weights = sha256_of(file) if file.is_file() else None
        content = [self._settings, weights, self.data.classes, hashes, mix, judged]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def _settings(self) -> dict[str, Any]:
        return self.spec.model_dump(mode="json", exclude=_CHANGES_NOTHING)

    def begin(self) -> None:
        """Take the place for this training, or go on with it.

        Raises SpecError, DataError, ModelError or NotReal for what cannot be trained, and RunMismatch where the place
        holds another training.
        """
        try:
            begun = json.loads(self.store.read(_BEGUN))
        except FileMissing:
            self.first_model()  # so that what is wrong with it is said before processes are started
            begun = {"fingerprint": self.fingerprint, "settings": self._settings}
            self.store.replace(_BEGUN, f"{json.dumps(begun, indent=1)}\n".encode())
        if begun["fingerprint"] != self.fingerprint:
            changes = "; ".join(differences(begun["settings"], self._settings)[:4]) or "other images"
            raise RunMismatch(
                f"{self.store} holds another training ({changes}); give this one its own train.name, or remove that"
            )

    def result(self) -> dict[str, Any] | None:
        """The content of result.json; None before the end."""
        try:
            found: dict[str, Any] = json.loads(self.store.read(RESULT))
        except FileMissing:
            return None
        return found

    def run(self, worker: TrainWorker, tell: ProgressCallback = noop_progress) -> TrainedClassifier:
        """Train as one of the workers, from the checkpoint on; rank 0 writes the files."""
        began = time.monotonic()
        checkpoint = Checkpoint(self.store, self.fingerprint)
        trainer = Trainer(self.spec, self.data, worker, checkpoint)
        if worker.rank:
            return trainer.run()
        with self._events(trainer.done) as events:

            def both(rows: Sequence[Row], step: int, steps: int) -> None:
                events.add(rows)
                tell(rows, step, steps)

            trained = trainer.run(both)
        facts = {"workers": worker.world_size, "device": _device(worker), "steps": trainer.steps}
        self._write(trained, facts | {"seconds_since_last_start": round(time.monotonic() - began, 1)})
        checkpoint.remove()
        self.store.sweep()
        return trained

    def first_model(self) -> Network:
        """The network before the training."""
        real, _ = real_and_synthetic(self.data.mix(self.spec, 1))
        return initial_network(self.spec, self.data.classes, real)

    def model(self) -> Network:
        """The trained network, of a training that is done."""
        with self.store.local_copy(MODEL) as path:
            return load_network(path)

    @contextmanager
    def _events(self, start: int) -> Iterator[TensorBoardWriter]:
        """Written where TensorBoard can watch them; for a bucket they are copied there at the end."""
        store = self.store / "events"
        with TemporaryDirectory() as folder:
            events = TensorBoardWriter(store.local or Path(folder), start, self.data.classes)
            try:
                yield events
            finally:
                events.close()
                for file in Path(folder).iterdir():
                    store.replace(file.name, file.read_bytes())

    def _write(self, trained: TrainedClassifier, facts: dict[str, Any]) -> None:
        self.store.replace("metrics.parquet", as_parquet(trained.rows))
        self.store.replace("predictions.parquet", _predictions(trained))
        self.store.replace(MODEL, dump_network(trained.model))
        result = {
            "name": self.spec.name,
            "fingerprint": self.fingerprint,
            "settings": self.spec.model_dump(mode="json"),
            "classes": self.data.classes,
            "step": trained.step,
            "last_step": len(trained.rows),
            **{split: scores.as_json() for split, scores in trained.scores.items()},
            **facts,
            "versions": {name: version(name) for name in _LIBRARIES},
        }
        self.store.replace(RESULT, f"{json.dumps(result, ensure_ascii=False)}\n".encode())


def open_job(run: Run, spec: TrainSpec) -> ClassifierJob:
    """The training on a run that `sweep.prepare_sweep` has prepared, in RUN/train/NAME."""
    real = run.store / "real"
    data = TrainData(
        real=(real / "train").url,
        synthetic=run.shards.url if finished_shards(run.shards) else None,
        validation=(real / "validation").url,
        test=(real / "test").url if finished_shards(real / "test") else None,
        classes=run.context.told_apart(spec),
    )
    return ClassifierJob(spec, data, run.store / "train" / spec.name)


def _predictions(trained: TrainedClassifier) -> bytes:
    """Columns split, key and quality; of a classifier also label, predicted and confidence."""
    tables = []
    for split, found in trained.predictions.items():
        label = {"label": found.label} if isinstance(found, Predictions) else {}
        facts = {"split": [split] * len(found.quality), "key": trained.keys[split]}
        tables.append(pa.table({**facts, **label, **found.as_columns()}))
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), sink)
    return sink.getvalue()


def _device(worker: TrainWorker) -> str:
    if torch.device(worker.device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
