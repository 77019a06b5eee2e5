"""DiT: a class index goes in, no prompt; guidance needs no second pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from bench.tiny_pipeline import make_vae
from engine.config.spec import Spec
from engine.errors import ModelError, SpecError
from engine.generators.generator import Generator, Request, load_generator
from engine.run.run import Run, plan_run
from engine.types import Prompt
from tests.recipes.harness import assert_actors_make_the_same, make_recipe, rows, shipped

CLASSES = 1000
LICENSE = "---\nlicense: cc-by-nc-4.0\n---\n"


def make_dit(folder: Path, classes: int = CLASSES) -> Path:
    """Save a DiTPipeline of random weights for 16x16 images, which learns sigma as the published one does."""
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1, sample_size=8,
        num_embeds_ada_norm=classes,
    )  # fmt: skip
    DiTPipeline(transformer, make_vae(latent_channels=4), DDIMScheduler()).save_pretrained(folder)
    (folder / "README.md").write_text(LICENSE)
    return folder


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dit(tmp_path_factory.mktemp("dit"))


def spec_of(model: Path, *overrides: str) -> Spec:
    small = ["model.steps=3", "model.batch_size=4", "plan.per_class=3", "output.samples_per_shard=8", "filters=[]"]
    return shipped("dit-imagenet.yaml", f"model.source={model}", *small, "cluster.gpus_per_actor=0", *overrides)


def load(spec: Spec) -> Generator:
    return load_generator(spec.model, spec.output.image, spec.cluster)


def requests_of(spec: Spec, *names: str) -> list[Request]:
    labels = {name: label for label, name in enumerate(spec.classes or ())}
    none = Prompt("", "", (), "class")
    return [Request(none, labels[name], name, seed) for seed, name in enumerate(names, start=2**62)]


@pytest.fixture(scope="module")
def run(dit: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_recipe(spec_of(dit), tmp_path_factory.mktemp("dit") / "run")


def test_samples_state_class_pipeline_licence_and_settings(run: Run) -> None:
    for row in rows(run):
        assert (row["prompt"], row["negative_prompt"], row["strategy"], row["source"]) == ("", "", "class", "")
        assert (row["pipeline"], row["scheduler"]) == ("DiTPipeline", "DDIMScheduler")
        assert (row["license"], row["generation"]) == ("cc-by-nc-4.0", 1)
        assert (row["width"], row["height"]) == (16, 16)
        assert json.loads(row["settings"]) == {"steps": 3, "guidance": 4.0}


@pytest.mark.slow
def test_actors_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(run, tmp_path)


def test_images_are_those_of_the_plain_pipeline(dit: Path) -> None:
    spec = spec_of(dit, "model.dtype=fp32")
    requests = requests_of(spec, "parachute", "tench", "church", "tench")
    pixels = load(spec).generate(requests).pixels
    plain = DiTPipeline.from_pretrained(dit)
    plain.set_progress_bar_config(disable=True)
    expected = plain(
        class_labels=[701, 0, 497, 0],  # ImageNet's, which are not the labels
        generator=[torch.Generator().manual_seed(request.seed) for request in requests],
        num_inference_steps=3,
        guidance_scale=4.0,
    )
    assert np.array_equal(pixels, np.stack([np.asarray(image) for image in expected.images]))
    assert len({image.tobytes() for image in pixels}) == 4


def test_the_class_decides_and_the_neighbours_do_not(dit: Path) -> None:
    spec = spec_of(dit)
    generator = load(spec)
    tench, church = requests_of(spec, "tench", "church")
    asked_for_other = Request(church.prompt, church.label, "church", tench.seed)
    alone = generator.generate([tench, church, church, church]).pixels
    two = generator.generate([asked_for_other, asked_for_other, tench, tench]).pixels
    assert np.array_equal(alone[0], two[2])
    assert np.array_equal(two[2], two[3])
    assert not np.array_equal(alone[0], two[0]), "same noise, other class"


@pytest.mark.parametrize(("guidance", "factor"), [(4, 2), (1, 1)])
def test_guidance_is_one_pass_over_twice_the_batch(dit: Path, guidance: int, factor: int) -> None:
    spec = spec_of(dit, f"model.guidance={guidance}")
    passes: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, DiTTransformer2DModel):
            passes.append(len(inputs[0]))

    generator = load(spec)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        generator.generate(requests_of(spec, "tench", "horn", "church", "tench"))
    finally:
        hook.remove()
    assert passes == [4 * factor] * 3


def test_another_scheduler(dit: Path) -> None:
    spec = spec_of(dit, "model.scheduler=DPMSolverMultistepScheduler")
    generator = load(spec)
    assert generator.facts.scheduler == "DPMSolverMultistepScheduler"
    requests = requests_of(spec, "tench", "horn", "church", "gas pump")
    assert np.array_equal(generator.generate(requests).pixels, generator.generate(requests).pixels)


def test_a_class_that_the_model_does_not_have(dit: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.class_ids: 'tench' is 1000, but .* has the classes 0 to 999"):
        load(spec_of(dit, "model.class_ids.tench=1000"))
    small = make_dit(tmp_path / "small", classes=3)
    spec = spec_of(small, "model.guidance=1", "model.class_ids={}")
    generator = load(spec)
    assert len(generator.generate(requests_of(spec, "tench", "springer", "cassette player", "tench")).pixels) == 4
    with pytest.raises(ModelError, match=r"model.class_ids: 'church' is 4, but .* has the classes 0 to 2"):
        generator.generate(requests_of(spec, "tench", "church", "tench", "tench"))
    with pytest.raises(ModelError, match=r"model.guidance: .* has 3 classes; say guidance: 1"):
        load(spec_of(small, "model.class_ids={}"))


def test_a_pipeline_of_another_kind(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"model.source: .* cannot be loaded for kind .class-conditional."):
        load(spec_of(tiny_model))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.width=512", "output.image.size"),
        ("prompts.templates=['a {class}']", "reads no prompts"),
        ("model.class_ids.trench=0", "did you mean 'tench'"),
        ("condition={source: shapes}", "condition"),
    ],
)
def test_what_it_does_not_take(dit: Path, tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        plan_run(spec_of(dit, override))
