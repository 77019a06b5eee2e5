"""Training follows from spec and shards, survives interruptions, and is evaluated on real images only."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config.train_spec import AugmentSpec, Change, TrainSpec
from engine.errors import DataError, ModelError, SpecError
from engine.training.classifier.classifier_job import ClassifierJob
from engine.training.classifier.history import as_parquet
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.trainer import TrainedClassifier, Trainer
from engine.training.classifier.training_data import TrainData, epoch_images, loss_weights, total_steps
from shards import NotReal
from shards.storage.open_store import open_store
from tests.conftest import ROOT
from tests.engine.training.digit_shards import write_digits

AUGMENT = AugmentSpec(horizontal_flip=0.3, brightness=Change(strength=0.2), noise=Change(strength=5.0))
SPEC = TrainSpec.model_validate(
    {"model": "mobilenet_v3_small", "steps": 12, "batch_size": 16, "evaluate_every": 4, "checkpoint_every": 3}
    | {"alpha": 0.25, "augment": AUGMENT}
)


def train(world: TrainData, **settings: object) -> TrainedClassifier:
    spec = TrainSpec.model_validate({"steps": 8, "batch_size": 16, **settings})
    return Trainer(spec, world, TrainWorker(precision=spec.precision)).run()


@pytest.fixture(scope="module")
def undisturbed(world: TrainData) -> TrainedClassifier:
    """Train without an interruption, with dropout, augmentation and batch norm."""
    return Trainer(SPEC, world, TrainWorker()).run()


def test_the_same_training_gives_the_same_table(world: TrainData, undisturbed: TrainedClassifier) -> None:
    again = Trainer(SPEC, world, TrainWorker()).run()
    assert as_parquet(again.rows) == as_parquet(undisturbed.rows)
    assert again.scores == undisturbed.scores
    assert [row["step"] for row in again.rows] == list(range(1, 13))
    assert [row["step"] for row in again.rows if "validation_accuracy" in row] == [4, 8, 12]
    other = Trainer(SPEC.model_copy(update={"seed": 1}), world, TrainWorker()).run()
    assert other.rows != undisturbed.rows


_KILLED = """
import json, os, signal, sys, torch
from engine.config.train_spec import TrainSpec
from engine.training.classifier.training_data import TrainData
from engine.training.classifier.history import as_parquet
from engine.training.classifier.classifier_job import ClassifierJob
from engine.training.classifier.train_worker import TrainWorker
from shards.storage.open_store import open_store

def stop(rows, step, steps):
    if step == 8:  # after the checkpoints of steps 3, 4 and 6
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
spec, data, place = json.load(sys.stdin)
data["classes"] = tuple(data["classes"])
ClassifierJob(TrainSpec.model_validate_json(spec), TrainData(**data), open_store(place)).run(TrainWorker(), stop)
"""


def test_a_killed_training_ends_with_the_same_weights(
    world: TrainData, undisturbed: TrainedClassifier, tmp_path: Path
) -> None:
    job_text = json.dumps([SPEC.model_dump_json(), vars(world), str(tmp_path)])
    died = subprocess.run([sys.executable, "-c", _KILLED], input=job_text, cwd=ROOT, text=True, check=False)
    assert died.returncode == -signal.SIGKILL
    job = ClassifierJob(SPEC, world, open_store(tmp_path))
    assert (tmp_path / "checkpoint.pt").is_file()
    assert job.result() is None
    steps: list[int] = []
    resumed = job.run(TrainWorker(), lambda rows, step, total: steps.extend(row["step"] for row in rows))
    assert steps == [7, 8, 9, 10, 11, 12], "the training resumes in the middle of the first epoch"
    assert resumed.rows == undisturbed.rows
    assert resumed.scores == undisturbed.scores
    same = resumed.model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in undisturbed.model.state_dict().items())


def test_a_synthetic_sample_in_a_real_split_is_refused(world: TrainData) -> None:
    for wrong in ("validation", "test", "real"):
        poisoned = TrainData(**{**vars(world), wrong: world.synthetic})
        with pytest.raises(NotReal, match="synthetic"):
            train(poisoned)


def test_real_or_synthetic_images_alone_teach_the_classes(world: TrainData) -> None:
    for alpha in (0.0, 1.0):
        trained = train(world, steps=60, batch_size=32, alpha=alpha)
        assert trained.scores["test"].accuracy > 0.8
        assert trained.predictions["test"].scores(10) == trained.scores["test"]
        assert len(trained.keys["test"]) == len(trained.predictions["test"].label) == 100


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_come_close(world: TrainData, precision: str) -> None:
    exact, rounded = (train(world, precision=name, alpha=0.5) for name in ("fp32", precision))
    assert rounded.rows != exact.rows
    assert [row["loss"] for row in rounded.rows] == pytest.approx([row["loss"] for row in exact.rows], rel=0.1)


def test_early_stopping_keeps_the_best_weights(world: TrainData) -> None:
    trained = train(world, steps=400, evaluate_every=4, early_stopping=2, learning_rate=5e-3, alpha=0.0)
    accuracies = {row["step"]: row["validation_accuracy"] for row in trained.rows if "validation_accuracy" in row}
    best = max(accuracies.values())
    assert len(trained.rows) < 400
    assert accuracies[trained.step] == best == trained.scores["validation"].accuracy
    assert trained.step == len(trained.rows) - 8


def test_oversampling_gives_every_class_its_equal_part(world: TrainData) -> None:
    for alpha in (None, 0.0, 0.5):
        mix = world.mix(TrainSpec(batch_size=40, balance="oversample", alpha=alpha), 1)
        batches = [mix.batch(number) for number in range(5)]
        counts = Counter(np.concatenate([batch.label for batch in batches]).tolist())
        assert counts == dict.fromkeys(range(10), 20)
        synthetic = np.concatenate([batch.synthetic for batch in batches]).mean()
        assert synthetic == pytest.approx({None: 0.6, 0.0: 0.0, 0.5: 0.5}[alpha], abs=0.03)


def test_oversampling_uses_real_images_if_a_class_has_no_others(tmp_path: Path) -> None:
    mix = write_digits(tmp_path, without_class=3).mix(TrainSpec(batch_size=40, balance="oversample", alpha=0.5), 1)
    batches = [mix.batch(number) for number in range(5)]
    label, synthetic = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("label", "synthetic"))
    assert Counter(label.tolist()) == dict.fromkeys(range(10), 20)
    assert not synthetic[label == 3].any()
    assert synthetic[label != 3].mean() == pytest.approx(0.5, abs=0.03)


def test_class_weights_give_every_class_an_equal_loss_share(world: TrainData) -> None:
    spec = TrainSpec(balance="class_weights", alpha=0.0)
    mix = world.mix(spec, 1)
    weights = loss_weights(spec, mix, 10)
    assert weights is not None
    counts = np.bincount(mix.sources[0].label, minlength=10)
    assert weights * counts == pytest.approx(np.full(10, 20.0))
    assert loss_weights(TrainSpec(), mix, 10) is None


def test_an_epoch_shows_every_real_image_once(world: TrainData) -> None:
    for alpha, images in ((None, 500), (0.0, 200), (0.5, 400), (1.0, 300)):
        spec = TrainSpec(epochs=2.0, batch_size=20, alpha=alpha)
        mix = world.mix(spec, 1)
        assert epoch_images(spec, mix) == images
        assert total_steps(spec, mix) == images // 10


def test_masks_are_learned(masked: TrainData) -> None:
    spec = {"model": "unet", "steps": 30, "learning_rate": 1e-2}
    trained = train(masked, augment=AugmentSpec(rotation=Change(strength=10)), **spec)
    assert trained.scores["test"].mean_iou > 0.8
    assert trained.predictions["test"].quality.mean() > 0.7
    assert trained.rows[-1]["validation_mean_iou"] == trained.scores["validation"].mean_iou


def test_errors_name_what_cannot_be_trained(world: TrainData, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"alpha is 0\.5, and there are no synthetic shards"):
        train(TrainData(**{**vars(world), "synthetic": None}), alpha=0.5)
    with pytest.raises(DataError, match="has no mask, and unet learns from masks"):
        train(world, model="unet")
    with pytest.raises(DataError, match="labels go from 0 to 9, for 2 classes"):
        train(TrainData(**{**vars(world), "classes": ("a", "b")}))
    with pytest.raises(ModelError, match=r"the loss is nan; lower train\.learning_rate"):
        train(world, learning_rate=1e30)
