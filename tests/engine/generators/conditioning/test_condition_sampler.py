"""The condition of each slot: images of its class equally often, the image that its prompt describes, or a drawing."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.config.condition_spec import RealCondition, ShapesCondition
from engine.data.real_shards import write_shard
from engine.generators.conditioning.condition_sampler import ConditionSampler
from engine.types import Slot
from shards.codec import encode_mask, encode_rgb
from shards.sample import Sample


def slot(label: int, ordinal: int) -> Slot:
    return Slot(ordinal, 0, label, ordinal, str(ordinal))


@pytest.fixture
def sampler(tmp_path: Path) -> ConditionSampler:
    """A sampler of five images of class 0 and three of class 1, each of one grey."""
    samples = []
    for number in range(8):
        label = int(number >= 5)
        metadata = {"key": f"c{number}", "label": label, "class_name": str(label), "synthetic": False, "prompt": ""}
        data = encode_rgb(np.full((4, 4, 3), number, np.uint8), "png")
        mask = encode_mask(np.full((4, 4), label, np.uint8))
        samples.append(Sample(f"c{number}", data, "png", label, metadata | {"digest": f"d{number}"}, mask))
    write_shard(tmp_path, "00000", samples)
    return ConditionSampler(RealCondition(source="real"), tmp_path, ("a", "b"), None)


@pytest.mark.parametrize(("label", "digests"), [(0, ["d0", "d1", "d2", "d3", "d4"]), (1, ["d5", "d6", "d7"])])
def test_images_of_a_class_are_used_equally(sampler: ConditionSampler, label: int, digests: list[str]) -> None:
    sources = [sampler.condition(slot(label, ordinal), 0, "").source for ordinal in range(10 * len(digests))]
    assert Counter(sources) == dict.fromkeys(digests, 10)
    rounds = [tuple(sources[start : start + len(digests)]) for start in range(0, len(sources), len(digests))]
    assert all(sorted(one) == digests for one in rounds), "none is used again before all others"
    assert len(set(rounds)) > 1


def test_described_image_comes_with_its_prompt(sampler: ConditionSampler) -> None:
    condition = sampler.condition(slot(1, 0), 0, "d6")
    assert condition.source == "d6"
    assert (condition.control(4, 4) == 6).all()


def test_drawn_layout_has_the_shape_of_the_images() -> None:
    palette = {"road": (140, 140, 140), "car": (0, 102, 200), "tree": (4, 200, 3)}
    spec = ShapesCondition(source="shapes", palette=palette, background="road")
    condition = ConditionSampler(spec, None, ("tree", "car"), palette).condition(slot(1, 0), 7, "")
    assert condition.control(32, 64).shape == (32, 64, 3)
    mask = condition.mask_at(32, 64)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}, "road and car, in the palette's order"
