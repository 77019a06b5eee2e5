"""Conditions: images and edges at the requested size, and layouts whose pixels are classes."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.config.condition_spec import EdgesSpec, RealCondition, ShapesCondition
from engine.data.masks import colours_of
from engine.data.real_shards import write_shard
from engine.generators.conditioning.condition import ConditionSampler, ImageCondition, Layout
from engine.types import Slot
from shards.codec import encode_mask, encode_rgb
from shards.sample import Sample

PALETTE = {"road": (140, 140, 140), "car": (0, 102, 200), "tree": (4, 200, 3)}


@pytest.mark.parametrize("shape", [(3, 3), (64, 48), (7, 90)])
def test_layout_is_resized_to_the_nearest(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 3, (24, 18), dtype=np.uint8)
    layout = Layout("", lambda: mask, colours_of(PALETTE))
    expected = np.asarray(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))
    assert np.array_equal(layout.mask_at(*shape), expected)
    assert np.array_equal(layout.control(*shape), np.array(list(PALETTE.values()), np.uint8)[expected])


def test_edges_are_detected_in_the_size_of_use() -> None:
    pixels = np.asarray(Image.effect_mandelbrot((40, 40), (-2, -1.5, 1, 1.5), 60).convert("RGB"))
    edges = ImageCondition("", lambda: pixels, EdgesSpec()).control(20, 20)
    expected = cv2.Canny(cv2.resize(pixels, (20, 20), interpolation=cv2.INTER_AREA), 100, 200)
    assert np.array_equal(edges, np.repeat(expected[..., None], 3, axis=2))
    assert 0 < (edges > 0).mean() < 1


def test_image_is_cut_around_its_centre() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    condition = ImageCondition("", lambda: pixels, None)
    assert (condition.control(20, 20) > 150).all()
    assert condition.control(20, 20).shape == (20, 20, 3)
    assert condition.mask_at(20, 20) is None


def slot(label: int, ordinal: int) -> Slot:
    return Slot(ordinal, 0, label, ordinal, str(ordinal))


@pytest.fixture
def sampler(tmp_path: Path) -> ConditionSampler:
    """Return a sampler of five images of class 0 and three of class 1, each of one grey."""
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
    assert all(sorted(used) == digests for used in rounds), "no image is used again before all others of its class"
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
