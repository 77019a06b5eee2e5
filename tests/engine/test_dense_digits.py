"""The shipped ControlNet with experiments/digits-dense.yaml: masks are labels that a U-Net can learn."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.config.spec_file import load_as, load_spec
from engine.data.splits import load_splits
from engine.evaluation.sweep import prepare_sweep
from engine.generators.generator import load_generator
from engine.run.run import Run, begin_run, pin_spec, plan_run
from engine.training.classifier.classifier_job import open_job
from engine.training.classifier.metrics import confusion_matrix, mean_iou
from engine.training.classifier.train_worker import TrainWorker
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.worker.runner import run_unit
from shards import ShardStream
from tests.conftest import ROOT

SPECS = ROOT / "jobs/specs/experiments"
FOLDER = ROOT / "engine" / "embedded" / "digits-masks"
SMALL = ("plan.balance_to=18", "model.dtype=fp32", "model.batch_size=20", "output.samples_per_shard=40")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a run of eight images of each digit."""
    folder = tmp_path_factory.mktemp("dense") / "run"
    spec = pin_spec(load_spec(SPECS / "digits-dense.yaml", SMALL), folder)
    run = begin_run(plan_run(spec, folder), folder)
    generator = load_generator(spec.model, spec.output.image, spec.cluster)
    for number in run.pending():
        run_unit(run.context, number, generator, run.shards)
    return run


def test_drawn_strokes_follow_the_mask(run: Run) -> None:
    stream = ShardStream(run.shards.url, shuffle=False, mask=True)
    batch = stream.read(range(len(stream)))
    assert batch.mask is not None
    assert len(batch) == 80
    for label, mask in zip(batch.label, batch.mask, strict=True):
        assert set(np.unique(mask)) == {0, label + 1}
    ink = (batch.image.mean(axis=-1) > 127).astype(np.int64)
    assert mean_iou(confusion_matrix((batch.mask > 0).ravel().astype(np.int64), ink.ravel(), 2)) > 0.8


def test_a_mask_network_learns_from_real_and_synthetic_images(run: Run) -> None:
    prepare_sweep(run)
    settings = {"steps": 30, "alpha": 0.5, "batch_size": 16, "evaluate_every": 30, "learning_rate": 1e-2}
    spec = run.context.spec.train.model_copy(update=settings)
    job = open_job(run, spec)
    job.begin()
    trained = job.run(TrainWorker())
    classes = list(run.context.spec.data.masks.palette)  # type: ignore[union-attr]
    assert list(job.data.classes) == classes == ["paper", *run.context.plan.classes]
    confusion = np.array(trained.scores["validation"].confusion)
    strokes = np.array([[confusion[0, 0], confusion[0, 1:].sum()], [confusion[1:, 0].sum(), confusion[1:, 1:].sum()]])
    assert mean_iou(strokes) > 0.8, "the U-Net learns to separate paper from strokes"


def test_the_folder_is_small_and_holds_no_pickle() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt", ".md"}
    assert sum(file.stat().st_size for file in files) <= 4e6


def test_the_embedded_controlnet_is_of_the_shipped_spec() -> None:
    spec = load_as(FinetuneSpec, SPECS / "digits-dense-finetune.yaml")
    record = json.loads((FOLDER / "training.json").read_text())
    recorded, shipped = record["spec"], spec.model_dump(mode="json")
    # When the weights were trained, the data section also held keys of other sources.
    recorded["data"] = {key: recorded["data"][key] for key in shipped["data"]}
    recorded["data"]["masks"] = {key: recorded["data"]["masks"][key] for key in shipped["data"]["masks"]}
    assert recorded == shipped
    demo = load_spec(SPECS / "digits-dense.yaml")
    assert demo.data == spec.data
    splits = load_splits(spec.data)
    seen = set((FOLDER / "world_digests.txt").read_text().split())
    assert seen == {image.digest for image in splits.world}
    for split in ("train", "validation", "test"):
        assert seen.isdisjoint(image.digest for image in splits[split])
    base = json.loads((Path(FOLDER).parent / "digits/training.json").read_text())
    assert record["base"]["revision"] == base["revision"]
