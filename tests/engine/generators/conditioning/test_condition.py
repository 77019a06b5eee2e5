"""Conditions: images and edges in the size of use, and layouts whose every pixel is a class."""

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.config.condition_spec import EdgesSpec
from engine.data.masks import colours_of
from engine.generators.conditioning.condition import ImageCondition, Layout

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
