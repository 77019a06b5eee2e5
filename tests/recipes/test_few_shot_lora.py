"""jobs/specs/few-shot-lora-finetune.yaml and few-shot-lora.yaml with a small model of their class; digits for birds."""

import json
from pathlib import Path

import pytest

from engine.config.spec import Spec
from engine.config.spec_file import load_as
from engine.data.open_source import open_source
from engine.errors import DataError
from engine.generators.generator import load_generator
from engine.run.leakage import prepare_real
from engine.run.run import Run, begin_run, plan_run
from engine.training.finetune.finetune_job import finetune
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.worker.runner import run_unit
from shards.storage.manifest import read_rows
from tests.recipes.harness import SPECS, assert_actors_make_the_same, make_recipe, members, rows, shipped
from tests.recipes.models import make_sd
from tests.specs import data_spec

BIRDS = {"shoebill": 7, "heron": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/: a small Stable Diffusion; birds/<class>/: forty images each; shoebill/: the adapter."""
    place = tmp_path_factory.mktemp("few-shot")
    make_sd(place / "model")
    images = open_source(data_spec()).images
    for name, label in BIRDS.items():
        (place / "birds" / name).mkdir(parents=True)
        for number, image in enumerate([item for item in images if item.label == label][:40]):
            (place / "birds" / name / f"{number}.png").write_bytes(image.read())
    small = ("size=16", "steps=30", "rate=0.01", "prior.images=4", "prior.steps=2", "model.dtype=fp32")
    overrides = (f"model.source={place / 'model'}", f"data.path={place / 'birds'}", *small)
    finetune(
        load_as(FinetuneSpec, SPECS / "few-shot-lora-finetune.yaml", overrides), place / "shoebill", lambda line: None
    )
    return place


def small(folder: Path, adapters: str) -> Spec:
    return shipped(
        "few-shot-lora.yaml",
        f"model.source={folder / 'model'}",
        f"data.path={folder / 'birds'}",
        f"model.adapters={adapters}",
        "model.dtype=fp32",
        "model.steps=2",
        "model.batch_size=4",
        "plan.per_class=12",
        "output.samples_per_shard=8",
        "cluster.gpus_per_actor=0",
    )


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    spec = small(folder, f"[{{source: {folder / 'shoebill'}, weight: 0.8, classes: [shoebill]}}]")
    return make_recipe(spec, folder / "run")


def make_alone(spec: Spec, folder: Path) -> Run:
    """Make every unit in this process."""
    new_run = begin_run(plan_run(spec), folder)
    generator = load_generator(spec.model, spec.output.image, spec.cluster)
    for number in new_run.pending():
        run_unit(new_run.context, number, generator, new_run.shards)
    return new_run


def test_the_adapter_changes_its_class_and_no_byte_of_another(folder: Path, run: Run) -> None:
    plain = make_alone(small(folder, "[]"), folder / "plain")
    adapted, before = by_key(run), by_key(plain)
    assert adapted.keys() == before.keys()
    for key, (name, image) in adapted.items():
        assert (before[key] == (name, image)) == (name == "heron")
    assert {name for name, _ in adapted.values()} == set(BIRDS)


def by_key(run: Run) -> dict[str, tuple[str, bytes]]:
    """Return class and encoded image of every sample by key: adapters change the order within a shard."""
    metadata = rows(run)
    images = members(run, metadata, "image")
    return {row["key"]: (row["class_name"], image) for row, image in zip(metadata, images, strict=True)}


def test_samples_name_the_adapter_and_its_real_images(folder: Path, run: Run) -> None:
    record = json.loads((folder / "shoebill" / "training.json").read_text())
    seen = [photo["digest"] for photo in record["learned"]]
    adapter = {
        "source": str(folder / "shoebill"), "revision": record["revision"], "weight": 0.8, "learned_images": len(seen),
    }  # fmt: skip
    for row in rows(run):
        rare = row["class_name"] == "shoebill"
        assert json.loads(row["adapters"]) == ([adapter] if rare else [])
        assert row["generation"] == (2 if rare else 1), "its prior holds images of the model itself"
    for stats in run.stats().values():
        assert stats["adapters"][0]["learned"] == sorted(seen)
    assert len(seen) == 20


def test_a_sweep_refuses_an_adapter_that_saw_what_judges_it(folder: Path, run: Run) -> None:
    prepare_real(run)
    digest_file = folder / "shoebill" / "world_digests.txt"
    before = digest_file.read_text()
    splits = {split: digests(run, split) for split in ("train", "validation", "test")}
    for split in splits:
        digest_file.write_text(before + splits[split][0])
        with pytest.raises(DataError, match=f"of the {split} split is one of the images that .* was trained on"):
            prepare_real(run)
    record = folder / "shoebill" / "training.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"split": "train"}))
    digest_file.write_text("\n".join(splits["train"]))
    prepare_real(run)
    digest_file.write_text(splits["validation"][0])
    with pytest.raises(DataError, match="of the validation split"):
        prepare_real(run)


def digests(run: Run, split: str) -> list[str]:
    return [row["digest"] for row in read_rows(run.store / "real" / split, ["digest"])]


@pytest.mark.slow
def test_actors_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(run, tmp_path)
