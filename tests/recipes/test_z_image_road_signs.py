"""jobs/specs/z-image-road-signs.yaml with a small ZImagePipeline."""

import re
from pathlib import Path

import pytest

from engine.generators.generator import load_generator
from engine.run.run import Run, plan_run
from engine.worker.runner import make_sample
from tests.recipes.harness import SPECS, assert_actors_make_the_same, make_recipe, members, rows, shipped
from tests.recipes.models import make_z_image


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("z-image")
    spec = shipped(
        "z-image-road-signs.yaml",
        f"model.source={make_z_image(folder / 'model')}",
        "model.width=16",
        "model.height=16",
        "model.steps=2",
        "plan.per_class=12",
        "output.samples_per_shard=8",
    )
    return make_recipe(spec, folder)


def test_image_does_not_depend_on_captions_of_its_batch(run: Run) -> None:
    context = run.context
    generator = load_generator(context.spec.model, context.spec.output.image, context.spec.cluster)
    samples = rows(run)[: context.spec.output.samples_per_shard]
    slots = [context.plan.slot_of_key(row["key"]) for row in samples]
    assert len({generator.batch_key(context.request(slot, 0)) for slot in slots}) > 1
    for slot, row, image in zip(slots, samples, members(run, samples, "image"), strict=True):
        alone = make_sample(context, slot, row["attempt"], generator)
        assert alone is not None
        assert alone.image == image


def test_captions_say_class_and_attributes(run: Run) -> None:
    names = {"stop sign": "red octagonal stop sign", "warning sign": "triangular road warning sign with a red border"}
    assert all(names[row["class_name"]] in row["prompt"] for row in rows(run))
    assert len({row["prompt"] for row in rows(run)}) > 12


def test_judging_command_shares_no_seed_with_the_training_set(run: Run) -> None:
    text = (SPECS / "z-image-road-signs.yaml").read_text()
    command = next(line for line in text.splitlines() if "jobs generate" in line)
    check = plan_run(shipped("z-image-road-signs.yaml", *re.findall(r"--set (\S+)", command))).plan
    plan = plan_run(shipped("z-image-road-signs.yaml")).plan
    assert (plan.total, check.total) == (100, 400)
    seeds = [
        {one.seed_of(one.slot(n), attempt) for n in range(one.total) for attempt in range(3)} for one in (plan, check)
    ]
    assert not seeds[0] & seeds[1]


@pytest.mark.slow
def test_actors_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(run, tmp_path)
