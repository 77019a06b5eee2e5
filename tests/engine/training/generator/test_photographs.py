"""Training on colour: a small model that learns words of colour."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from engine.training.generator.generator_job import train_generator
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.generator.image_attributes import Rgb, measure
from engine.training.generator.sample_quality import make_sampler

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
