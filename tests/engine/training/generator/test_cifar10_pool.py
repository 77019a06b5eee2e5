"""The training pool of the shipped CIFAR-10 spec."""

import json

import numpy as np

from engine.config.spec_file import load_as
from engine.data.splits import load_splits
from engine.training.generator.augmentation_pool import load_world, make_pool
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.generator.image_attributes import measure
from tests.conftest import ROOT
from tests.optional import CIFAR10, needs_cifar10


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
