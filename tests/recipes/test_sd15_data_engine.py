"""jobs/specs/sd15-data-engine.yaml with a small StableDiffusionPipeline, whose safety checker refuses half of it."""

from collections import Counter
from pathlib import Path

import pytest

from engine.run.run import Run
from shards.codec import decode_rgb
from tests.recipes.harness import assert_actors_make_the_same, make_recipe, members, rows, shipped
from tests.recipes.models import make_sd


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("sd15")
    spec = shipped(
        "sd15-data-engine.yaml",
        f"model.source={make_sd(folder / 'model', unsafe_above=0.25)}",
        "model.dtype=fp32",
        "model.steps=2",
        "model.batch_size=4",
        "plan.per_class=8",
        "plan.max_attempts=20",
        "output.samples_per_shard=10",
    )
    return make_recipe(spec, folder)


def test_each_class_rotates_through_the_four_templates(run: Run) -> None:
    templates = run.context.spec.prompts.templates
    assert len(templates) == 4
    prompts = {(row["class_name"], row["prompt"]) for row in rows(run)}
    assert prompts == {
        (name, text.format(**{"class": name})) for name in run.context.plan.classes for text in templates
    }
    assert set(Counter(row["prompt"] for row in rows(run)).values()) == {2}


def test_images_refused_by_the_safety_checker_are_rejected(run: Run) -> None:
    samples = rows(run)
    rejected: Counter[str] = Counter()
    for stats in run.stats().values():
        rejected.update(stats["rejected"])
    assert rejected["unsafe"] == sum(row["attempt"] for row in samples) > 0
    assert all(decode_rgb(image).std() > 4 for image in members(run, samples, "image"))


def test_what_a_sample_says_of_its_model(run: Run) -> None:
    row = rows(run)[0]
    assert (row["pipeline"], row["scheduler"]) == ("StableDiffusionPipeline", "DDIMScheduler")
    assert '"guidance": 6.5' in row["settings"]


@pytest.mark.slow
def test_actors_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(run, tmp_path)
