"""The shipped weights: the contents of their folder, and samples that match their prompts."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from sklearn.neighbors import KNeighborsClassifier

from engine.config.spec_file import load_as
from engine.data.splits import Splits, load_splits
from engine.training.generator.augmentation_pool import resize
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.generator.image_attributes import Rgb, measure
from engine.training.generator.sample_quality import Sampler, make_sampler

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "engine" / "embedded" / "digits"
SPECS = ROOT / "jobs" / "specs"


@pytest.fixture(scope="module")
def spec() -> GeneratorSpec:
    return load_as(GeneratorSpec, SPECS / "digits-generator.yaml")


@pytest.fixture(scope="module")
def splits(spec: GeneratorSpec) -> Splits:
    return load_splits(spec.data)


@pytest.fixture(scope="module")
def sample(spec: GeneratorSpec) -> Sampler:
    pipeline = DiffusionPipeline.from_pretrained(FOLDER, dtype=torch.float32)
    return make_sampler(pipeline, spec, seed=5)


def test_the_folder_is_small_and_holds_no_pickle() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt", ".md"}
    assert sum(file.stat().st_size for file in files) <= 8e6


def test_the_record_is_of_the_shipped_spec(spec: GeneratorSpec) -> None:
    record = json.loads((FOLDER / "training.json").read_text())
    recorded, shipped = record["spec"], spec.model_dump(mode="json")
    # When the weights were trained, the data section also held keys of other sources.
    recorded["data"] = {key: recorded["data"][key] for key in shipped["data"]}
    assert recorded == shipped


def test_the_generator_learned_from_the_world_split_alone(splits: Splits) -> None:
    demo, own = (yaml.safe_load((SPECS / name).read_text()) for name in ("digits.yaml", "digits-generator.yaml"))
    assert demo["data"] == own["data"]
    seen = set((FOLDER / "world_digests.txt").read_text().split())
    assert seen == {image.digest for image in splits.world}
    for split in ("train", "validation", "test"):
        assert seen.isdisjoint(image.digest for image in splits[split])


def _features(images: Rgb) -> np.ndarray:
    """Return pixels of equal contrast, so that a faint digit is as near to its class as a strong one."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1)


def test_labels_are_right_by_real_validation_images(spec: GeneratorSpec, splits: Splits, sample: Sampler) -> None:
    real = splits.validation
    images = np.stack([resize(image.pixels(), spec.size) for image in real])
    neighbours = KNeighborsClassifier(3).fit(_features(images), [image.label for image in real])
    labels = np.arange(200) % len(splits.classes)
    images = sample([f"a handwritten digit {splits.classes[label]}" for label in labels], "labels")
    assert (neighbours.predict(_features(images)) == labels).mean() > 0.85


@pytest.mark.parametrize(
    ("attribute", "low", "high"),
    [
        ("weight", "thin", "bold"),
        ("slant", "left-leaning", "right-leaning"),
        ("size", "small", "large"),
        ("contrast", "faint", "strong"),
    ],
)
def test_an_attribute_word_changes_its_measure(
    splits: Splits, sample: Sampler, attribute: str, low: str, high: str
) -> None:
    ask = partial(_mean, sample, splits.classes, attribute)
    assert ask(low)[attribute] < ask(high)[attribute]


def test_bold_adds_ink_and_unknown_words_keep_the_class(splits: Splits, sample: Sampler) -> None:
    thin, bold = (sample([f"a {word} handwritten digit {name}" for name in splits.classes] * 4, "ink").mean()
                  for word in ("thin", "bold"))  # fmt: skip
    assert bold > 1.15 * thin
    known, strange = (sample([text] * 16, "strange").mean(axis=0) for text in ("a zero", "a bewildering zero"))
    other_digit = sample(["a one"] * 16, "strange").mean(axis=0)
    assert np.abs(known - strange).mean() < 0.5 * np.abs(known - other_digit).mean()


def _mean(sample: Sampler, classes: Sequence[str], attribute: str, word: str) -> dict[str, float]:
    images = sample([f"a {word} handwritten digit {name}" for name in classes] * 4, attribute)
    values = [measure(image, [attribute]) for image in images]
    return {name: float(np.mean([value[name] for value in values])) for name in values[0]}
