"""jobs/specs/sdxl-turbo-cifar10.yaml with a small StableDiffusionXLPipeline, in fp16, whose VAE overflows in fp16."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.prompts.prompt_bank import BankRow, write_bank
from engine.run.run import Run
from shards.codec import decode_rgb
from tests.optional import CIFAR10, VISUAL_GENOME, needs_cifar10, needs_visual_genome
from tests.recipes.harness import assert_actors_make_the_same, make_recipe, members, rows, shipped
from tests.recipes.models import make_sdxl

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

pytestmark = [needs_cifar10, needs_visual_genome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("sdxl")
    spec = shipped(
        "sdxl-turbo-cifar10.yaml",
        "data.source=parquet",
        "data.path=train.parquet",
        "data.held_out=test.parquet",
        f"model.source={make_sdxl(folder / 'model', variant='fp16', vae_gain=1e5)}",
        "model.width=16",
        "model.height=16",
        "model.batch_size=6",
        "plan.per_class=3",
        "output.samples_per_shard=10",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # the spec's paths are relative
        _write_files()
        yield make_recipe(spec, folder)


def _write_files() -> None:
    for name in ("train", "test"):
        pq.write_table(pq.read_table(CIFAR10 / f"{name}.parquet").slice(0, 300), f"{name}.parquet")
    Path("banks").mkdir()
    shutil.copy(VISUAL_GENOME, "banks/cifar10-attributes.json")
    texts = [(name, f"a {name} that a language model thought of, {n}") for name in CLASSES for n in range(3)]
    write_bank(Path("banks/cifar10.parquet"), [BankRow(name, text, "", "a model", "", 0) for name, text in texts])


def test_a_third_of_each_class_is_worded_by_each_strategy(run: Run) -> None:
    samples = rows(run)
    names = [strategy.name for strategy in run.context.spec.prompts.strategies]
    assert names == ["class-label", "clustered-attributes", "llm"]
    assert Counter((row["class_name"], row["strategy"]) for row in samples) == {
        (c, n): 1 for c in CLASSES for n in names
    }
    for row in samples:
        words = list(json.loads(row["attributes"]).values())
        plain = f"a photo of a {row['class_name']}"
        expected = {"class-label": plain, "clustered-attributes": f"{plain}, {', '.join(words)}"}
        assert row["prompt"] == expected.get(row["strategy"], row["prompt"])
    assert all("language model" in row["prompt"] for row in samples if row["strategy"] == "llm")


def test_nothing_overflows_though_the_vae_does_so_in_fp16(run: Run) -> None:
    assert [stats["rejected"] for stats in run.stats().values()] == [{}] * len(run.stats())
    images = [decode_rgb(image) for image in members(run, rows(run), "image")]
    assert {image.shape for image in images} == {(32, 32, 3)}
    assert min(image.std() for image in images) > 4


def test_what_a_sample_says_of_its_model(run: Run) -> None:
    row = rows(run)[0]
    assert (row["pipeline"], row["scheduler"]) == ("StableDiffusionXLPipeline", "EulerAncestralDiscreteScheduler")
    assert json.loads(row["settings"]) | {"steps": 1, "guidance": 0.0, "variant": "fp16"} == json.loads(row["settings"])


@pytest.mark.slow
@pytest.mark.slow
def test_actors_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(run, tmp_path)
