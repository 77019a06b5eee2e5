"""A classifier training in a folder: its files, resuming, and the specs that it refuses."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from engine.config.train_spec import TrainSpec
from engine.errors import DataError, RunMismatch, SpecError
from engine.training.classifier.classifier_job import ClassifierJob
from engine.training.classifier.evaluate import predict
from engine.training.classifier.holdout import accuracy, compare_predictions, list_photos
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.training_data import TrainData
from shards.codec import encode_rgb
from shards.storage.open_store import open_store
from tests.engine.training.digit_shards import write_digits

SPEC = TrainSpec(steps=60, batch_size=32, evaluate_every=30, alpha=0.0)


@pytest.fixture(scope="module")
def done(world: TrainData, tmp_path_factory: pytest.TempPathFactory) -> ClassifierJob:
    job = ClassifierJob(SPEC, world, open_store(tmp_path_factory.mktemp("job")))
    job.begin()
    job.run(TrainWorker())
    return job


def events(folder: Path) -> Iterator[Event]:
    """Return the events of TensorBoard files, which hold length, checksum, event and checksum."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_the_files_of_a_training_agree(done: ClassifierJob, world: TrainData) -> None:
    folder, result = done.store.local, done.result()
    assert {path.name for path in folder.iterdir()} == {
        "training.json", "events", "metrics.parquet", "predictions.parquet", "model.safetensors", "result.json"
    }  # fmt: skip
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    assert len(rows) == result.last_step == 60
    assert rows[-1]["validation_accuracy"] == result.validation.accuracy > 0.8
    assert rows[-1]["validation_recall"] == list(result.validation.recall)
    assert np.array(result.test.confusion).sum() == 100
    predictions = pq.read_table(folder / "predictions.parquet").to_pylist()
    right = [row["label"] == row["predicted"] for row in predictions if row["split"] == "test"]
    assert np.mean(right) == result.test.accuracy
    assert [row["quality"] for row in predictions if row["split"] == "test"] == right
    again = predict(done.trained_model(), world.evaluation_streams(SPEC, 1)["test"], TrainWorker())
    assert again.predicted.tolist() == [row["predicted"] for row in predictions if row["split"] == "test"]
    assert predictions[-1]["key"] == "test00799"


def test_predictions_of_masks_hold_the_quality_of_each_image(masked: TrainData, tmp_path: Path) -> None:
    job = ClassifierJob(SPEC.changed({"model": "unet", "steps": 4}), masked, open_store(tmp_path / "job"))
    job.begin()
    trained = job.run(TrainWorker())
    predictions = pq.read_table(tmp_path / "job/predictions.parquet")
    assert predictions.column_names == ["split", "key", "quality"]
    assert predictions["quality"].to_pylist() == [
        *trained.predictions["validation"].quality,
        *trained.predictions["test"].quality,
    ]
    assert predictions["key"].to_pylist() == [*trained.keys["validation"], *trained.keys["test"]]


def test_tensorboard_reads_the_same_numbers(done: ClassifierJob) -> None:
    rows = pq.read_table(done.store.local / "metrics.parquet").to_pylist()
    scalars = {(v.tag, e.step): v.simple_value for e in events(done.store.local / "events") for v in e.summary.value}
    assert scalars["loss", 17] == pytest.approx(rows[16]["loss"])
    assert scalars["validation/accuracy", 60] == pytest.approx(rows[59]["validation_accuracy"])
    assert scalars["recall/seven", 30] == pytest.approx(rows[29]["validation_recall"][7])
    assert ("validation/accuracy", 17) not in scalars


def test_a_folder_refuses_another_training(done: ClassifierJob, world: TrainData, tmp_path: Path) -> None:
    ClassifierJob(SPEC.model_copy(update={"workers": 2}), world, done.store).begin()
    with pytest.raises(
        RunMismatch, match=r"another training \(alpha: 0\.0 -> 0\.5\); give this one its own train\.name"
    ):
        ClassifierJob(SPEC.model_copy(update={"alpha": 0.5}), world, done.store).begin()
    others = write_digits(tmp_path)
    with pytest.raises(RunMismatch, match="other images"):
        ClassifierJob(SPEC, TrainData(**{**vars(world), "real": others.validation}), done.store).begin()
    with pytest.raises(SpecError, match="alexnet cannot take images of 16x16"):
        ClassifierJob(SPEC.changed({"model": "alexnet"}), world, open_store(tmp_path / "new")).begin()


def test_photos_are_classified_before_and_after_training(done: ClassifierJob, world: TrainData, tmp_path: Path) -> None:
    batch = world.evaluation_streams(SPEC, 1)["test"].read(range(40))
    for number, (image, label) in enumerate(zip(batch.image, batch.label, strict=True)):
        photo = tmp_path / "by_class" / world.classes[label] / f"{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(encode_rgb(np.kron(image, np.ones((3, 3, 1), np.uint8)), "png"))
    photos = list_photos(tmp_path / "by_class", done)
    comparison = compare_predictions(done, photos)
    assert len(comparison["photos"]) == 40
    assert comparison["accuracy"]["after"] > 0.7 > comparison["accuracy"]["before"]
    assert all(0.1 <= photo["after"]["confidence"] <= 1 for photo in comparison["photos"])
    assert json.loads(json.dumps(comparison)) == comparison


def test_photos_in_one_folder_have_no_truth(done: ClassifierJob, tmp_path: Path) -> None:
    (tmp_path / "me.jpg").write_bytes(encode_rgb(np.full((40, 60, 3), 128, np.uint8), "jpg"))
    photos = list_photos(tmp_path, done)
    comparison = compare_predictions(done, photos)
    assert [(photo["photo"], photo["truth"]) for photo in comparison["photos"]] == [(str(tmp_path / "me.jpg"), None)]
    assert comparison["accuracy"] == {"before": None, "after": None}
    assert accuracy([]) is None


def test_unusable_photos_are_refused(done: ClassifierJob, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        list_photos(tmp_path / "nowhere", done)
    (tmp_path / "elf").mkdir()
    (tmp_path / "elf" / "1.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="elf is no class; the network knows zero, one"):
        list_photos(tmp_path, done)
    (tmp_path / "elf").rename(tmp_path / "one")
    masks = ClassifierJob(SPEC.changed({"model": "unet"}), done.data, done.store)
    with pytest.raises(SpecError, match="unet labels pixels"):
        list_photos(tmp_path, masks)
    with pytest.raises(DataError, match=r"1\.png: corrupt image"):
        list_photos(tmp_path, done)


def test_the_initial_model_has_the_first_weights_of_training(world: TrainData, tmp_path: Path) -> None:
    job = ClassifierJob(
        TrainSpec(steps=1, learning_rate=1e-12, weight_decay=0.0, alpha=0.0), world, open_store(tmp_path)
    )
    job.begin()
    job.run(TrainWorker())
    before, after = job.initial_model().state_dict(), job.trained_model().state_dict()
    assert torch.allclose(before["network.0.weight"], after["network.0.weight"], atol=1e-6)
