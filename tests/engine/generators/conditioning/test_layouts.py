"""Layouts: their shape is checked, and drawn ones follow from the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from engine.generators.conditioning.layouts import check_shape, draw_shapes


@pytest.mark.parametrize(("mask", "size"), [((6, 9), (512, 768)), ((683, 1024), (512, 768))])
def test_layout_of_the_same_shape_is_accepted(mask: tuple[int, int], size: tuple[int, int]) -> None:
    check_shape(np.zeros(mask, np.uint8), *size, "a.png")


@pytest.mark.parametrize(("mask", "size"), [((6, 9), (1, 1)), ((9, 6), (512, 768))])
def test_layout_of_another_shape_is_refused(mask: tuple[int, int], size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=rf"a.png: is {mask[1]}x{mask[0]} pixels, and the images will be"):
        check_shape(np.zeros(mask, np.uint8), *size, "a.png")


@given(st.integers(0, 2**63 - 1), st.integers(1, 5))
def test_drawn_layouts_follow_from_the_seed(seed: int, most: int) -> None:
    drawn = draw_shapes(seed, 1, 0, most, (64, 96))
    assert np.array_equal(drawn, draw_shapes(seed, 1, 0, most, (64, 96)))
    assert not np.array_equal(drawn, draw_shapes(seed ^ 1, 1, 0, most, (64, 96)))
    assert set(np.unique(drawn)) == {0, 1}, "the layout holds the class and the background"
