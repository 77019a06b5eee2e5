"""Image attributes, measured on drawn strokes and painted photographs, and their thresholds per class."""

from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.training.generator.generator_spec import PhotographName, StrokeName
from engine.training.generator.image_attributes import ATTRIBUTES, Thresholds, measure

STROKES, PHOTOGRAPHS = get_args(StrokeName), get_args(PhotographName)


def stroke(width: int = 4, lean: int = 0, length: int = 20, level: int = 255) -> NDArray[np.uint8]:
    """Draw a line through the middle of a 32x32 image; `lean` moves its top to the right, in pixels."""
    image = np.zeros((32, 32, 3), np.uint8)
    half = length // 2
    cv2.line(image, (16 - lean, 16 + half), (16 + lean, 16 - half), (level,) * 3, width)
    return image


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(256, size=(32, 32, 3), dtype=np.uint8)


def painted(red: int, green: int, blue: int) -> NDArray[np.uint8]:
    return np.full((32, 32, 3), (red, green, blue), np.uint8)


def test_a_spec_can_name_every_attribute_and_no_other() -> None:
    assert {*STROKES, *PHOTOGRAPHS} == set(ATTRIBUTES)


def test_no_word_stands_for_two_things() -> None:
    words = [word for attribute in ATTRIBUTES.values() for word in attribute.words]
    assert len(words) == len(set(words))


def test_weight_is_the_stroke_width_whatever_the_contrast() -> None:
    widths = [measure(stroke(width), STROKES)["weight"] for width in (2, 4, 6, 8)]
    assert widths == sorted(widths)
    assert widths[2] == pytest.approx(6, abs=2)
    assert measure(stroke(4, level=100), ["weight"])["weight"] == pytest.approx(widths[1], rel=0.01)


def test_slant_is_an_angle_positive_to_the_right() -> None:
    right, upright, left = (measure(stroke(lean=lean), ["slant"])["slant"] for lean in (5, 0, -5))
    assert right == pytest.approx(np.degrees(np.arctan2(5, 10)), abs=3)
    assert upright == pytest.approx(0, abs=1)
    assert left == pytest.approx(-right, abs=2)


def test_size_and_contrast_follow_length_and_level() -> None:
    large, middle, small = (measure(stroke(length=length), ["size"])["size"] for length in (24, 16, 8))
    assert large > middle > small
    assert measure(stroke(level=128), ["contrast"])["contrast"] == pytest.approx(0.5, abs=0.01)


def test_brightness_saturation_and_warmth_follow_the_colour() -> None:
    orange, grey, blue = (measure(painted(*colour), PHOTOGRAPHS) for colour in ((255, 128, 0), (128,) * 3, (0, 0, 255)))
    assert orange["warmth"] == pytest.approx(1)
    assert blue["warmth"] == pytest.approx(-1)
    assert grey["warmth"] == grey["saturation"] == 0
    assert grey["brightness"] == pytest.approx(0.5, abs=0.01)
    assert blue["saturation"] == pytest.approx(1)
    assert orange["brightness"] > grey["brightness"] > blue["brightness"]


def test_tones_follow_the_spread_of_luma_and_detail_does_not() -> None:
    board = np.kron(np.indices((4, 4)).sum(axis=0) % 2, np.ones((8, 8)))[..., None].repeat(3, axis=2)
    strong, weak = ((128 + level * (board - 0.5)).astype(np.uint8) for level in (200, 100))
    assert measure(strong, ["tones"])["tones"] == pytest.approx(2 * measure(weak, ["tones"])["tones"], rel=0.02)
    assert measure(strong, ["detail"])["detail"] == pytest.approx(measure(weak, ["detail"])["detail"], rel=0.02)
    fine, coarse = noise(0), cv2.GaussianBlur(noise(0), (0, 0), 3)
    assert measure(fine, ["detail"])["detail"] > 3 * measure(coarse, ["detail"])["detail"]


@given(st.integers(0, 2**32 - 1))
def test_a_mirror_image_has_the_same_measures(seed: int) -> None:
    image = noise(seed)
    assert measure(image[:, ::-1], PHOTOGRAPHS) == pytest.approx(measure(image, PHOTOGRAPHS), abs=1e-5)


@pytest.mark.parametrize("level", [0, 255])
def test_an_empty_image_can_be_measured(level: int) -> None:
    assert all(np.isfinite(value) for value in measure(painted(level, level, level), list(ATTRIBUTES)).values())


def test_thresholds_divide_each_class_by_itself() -> None:
    values = [dict.fromkeys(STROKES, float(at + 100 * label)) for label in (0, 1) for at in range(9)]
    labels = [label for label in (0, 1) for _ in range(9)]
    cuts = Thresholds.from_values(values, labels, 2)
    assert [cuts.rank("weight", value["weight"], label) for value, label in zip(values, labels, strict=True)] == [
        0, 0, 0, 1, 1, 1, 2, 2, 2,
    ] * 2  # fmt: skip
    assert cuts.words(values[0], 0)["slant"] == "left-leaning"
