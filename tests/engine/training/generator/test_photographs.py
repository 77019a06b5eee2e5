"""Training on colour: the pool of the shipped CIFAR-10 spec, and a small model that learns words of colour."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from engine.config.spec_file import load_as
from engine.data.splits import load_splits
from engine.training.generator.augmentation_pool import load_world, make_pool
from engine.training.generator.generator_job import train_generator
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.generator.image_attributes import Rgb, measure
from engine.training.generator.sample_quality import make_sampler
from tests.optional import CIFAR10, needs_cifar10

ROOT = Path(__file__).parents[4]
SMALL = {
    "name": "shapes",
    "seed": 3,
    "data": {
        "source": "imagefolder",
        "path": "",
        "splits": {"world": 1.0, "train": 0.0, "validation": 0.0, "test": 0.0},
    },
    "size": 16,
    "attributes": ["warmth"],
    "pool": {"copies": 2, "flip": 1, "shift": 1, "border": "reflect"},
    "captions": {
        "templates": ["a {listed} picture of a {name}", "{name} {clauses}"],
        "drop_attribute": 0,
        "drop_all": 0.1,
        "strange_word": 0,
    },
    "text": {"width": 32, "layers": 1, "heads": 2},
    "autoencoder": {"channels": [8, 16], "steps": 300, "batch": 16, "rate": 0.008},
    "denoiser": {"channels": [32, 48], "steps": 160, "batch": 24, "warmup": 20, "ema": 0.97, "rate": 0.002},
    "inference_steps": 6,
    "guidance": 2,
    "judged": 10,
    "judge_steps": 60,
}


def drawn(shape: str, rng: np.random.Generator) -> Rgb:
    """Draw a disc or a square in one colour on another."""
    back, front = rng.integers(40, 216, size=(2, 3)).tolist()
    image = np.full((16, 16, 3), back, np.uint8)
    x, y = (int(at) for at in rng.integers(6, 10, size=2))
    if shape == "disc":
        cv2.circle(image, (x, y), 4, front, -1)
    else:
        cv2.rectangle(image, (x - 4, y - 4), (x + 4, y + 4), front, -1)
    return image


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[GeneratorSpec, Path]:
    folder, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for shape in ("disc", "square"):
        (folder / "real" / shape).mkdir(parents=True)
        for at in range(150):
            cv2.imwrite(str(folder / "real" / shape / f"{at}.png"), drawn(shape, rng))
    data = SMALL["data"] | {"path": str(folder / "real")}  # type: ignore[operator]
    spec = GeneratorSpec.model_validate_json(json.dumps(SMALL | {"data": data}))
    train_generator(spec, folder / "out", lambda line: None)
    return spec, folder / "out"


def test_the_record_and_the_card_are_of_photographs(trained: tuple[GeneratorSpec, Path]) -> None:
    record = json.loads((trained[1] / "training.json").read_text())
    assert record["losses"]["autoencoder_error"] < 0.1
    assert record["quality"]["judge_accuracy"] > 0.8
    assert list(record["quality"]["adherence"]["warmth"]) == ["cool", "neutral", "warm"]
    card = (trained[1] / "README.md").read_text()
    assert "warm picture of a square" in card
    assert "with guidance 2" in card
    assert "flip 1.0, shift 1.0, border reflect" in card


def test_a_colour_word_changes_the_colour(trained: tuple[GeneratorSpec, Path]) -> None:
    spec, folder = trained
    sample = make_sampler(DiffusionPipeline.from_pretrained(folder, dtype=torch.float32), spec, seed=1)

    def warmth(word: str) -> float:
        images = sample([f"a {word} picture of a {name}" for name in ("disc", "square")] * 16, "words")
        return float(np.mean([measure(image, ["warmth"])["warmth"] for image in images]))

    assert warmth("warm") > warmth("cool") + 0.15


@needs_cifar10
def test_the_pool_of_cifar10_is_its_world_in_colour_and_mirrored() -> None:
    shipped = load_as(GeneratorSpec, ROOT / "jobs/specs/cifar10-generator.yaml")
    part = {"source": "parquet", "path": str(CIFAR10 / "test.parquet")}
    part["splits"] = {"world": 0.03, "train": 0.17, "validation": 0.4, "test": 0.4}  # type: ignore[assignment]
    data = type(shipped.data).model_validate_json(json.dumps(part))
    world = load_world(load_splits(data), shipped.size)
    pool = make_pool(world, shipped.attributes, shipped.pool, shipped.seed)
    assert pool.images.shape == (600, 32, 32, 3)
    assert np.array_equal(pool.images[0::2], world.images)
    assert np.array_equal(pool.images[1::2], world.images[:, :, ::-1])
    assert set(shipped.captions.aliases) < set(world.classes)
    for attribute in shipped.attributes:
        values = [words[attribute] for words in pool.words]
        assert len(set(values)) == 3
        assert all(180 <= values.count(word) <= 220 for word in set(values)), attribute
    levels = np.array([measure(image, ["saturation"])["saturation"] for image in pool.images])
    saturation = np.array([words["saturation"] for words in pool.words])
    assert levels[saturation == "vivid"].mean() > 2 * levels[saturation == "muted"].mean()
