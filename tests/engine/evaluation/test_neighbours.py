"""The nearest real images, and which images are copies."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.open_source import open_source
from engine.evaluation import neighbours
from engine.evaluation.neighbours import match_pixels, mirrored, nearest, thumbnails, usual_distance
from shards.codec import Pixels, decode_rgb, encode_rgb, fit_rgb
from tests.specs import data_spec

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@given(SEEDS, st.integers(1, 20), st.integers(1, 20), st.integers(1, 25), st.sampled_from([1, 50, 10**6]))
def test_the_nearest_are_those_of_a_full_sort(seed: int, n: int, m: int, count: int, block: int) -> None:
    ours, theirs = drawn(seed, n, 3), drawn(seed + 1, m, 3)
    squared = np.square(ours[:, None] - theirs[None]).sum(axis=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK_DISTANCES", block)
        row, distance = nearest(ours, theirs, count)
    assert row.tolist() == np.argsort(squared, axis=1)[:, :count].tolist()
    assert distance == pytest.approx(np.sqrt(np.sort(squared, axis=1)[:, :count]))


def test_a_few_twins_do_not_change_the_usual_distance() -> None:
    line = np.arange(100.0)[:, None]
    assert usual_distance(line) == pytest.approx(1)
    assert usual_distance(np.concatenate([line, line[:20]])) == pytest.approx(1)
    assert usual_distance(np.zeros((4, 2))) > 0, "the distance is used as a divisor and must not be zero"


@pytest.fixture(scope="module")
def digits() -> list[Pixels]:
    return [fit_rgb(image.pixels(), 32, 32) for image in open_source(data_spec()).images]


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda image: image,
    "encoded": lambda image: decode_rgb(encode_rgb(image, "jpg", 50)),
    "paler": lambda image: (image * 0.7 + 40).astype(np.uint8),
    "noisy": lambda image: (image + np.random.default_rng(0).normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8),
    "larger": lambda image: fit_rgb(image, 96, 96),
    "tinted": lambda image: (image * [1.0, 0.95, 1.0]).astype(np.uint8),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_with_what_it_copies(change: str, digits: list[Pixels]) -> None:
    changed = [CHANGES[change](image) for image in digits[:100]]
    matches = match_pixels(thumbnails(changed), thumbnails(digits))
    assert matches.is_copy.mean() > 0.97
    assert (matches.row[matches.is_copy] == np.arange(100)[matches.is_copy]).mean() > 0.97
    assert abs(matches.mirrored.mean() - (change == "mirrored")) < 0.05


def test_other_images_of_the_same_class_are_no_copies(digits: list[Pixels]) -> None:
    assert not match_pixels(thumbnails(digits[900:]), thumbnails(digits[:900])).is_copy.any()
    assert not match_pixels(thumbnails(digits[900:]), thumbnails(digits[:30])).is_copy.any()


def test_images_of_one_colour_are_no_copies_of_each_other(digits: list[Pixels]) -> None:
    dark, light = (np.full((32, 32, 3), level, np.uint8) for level in (9, 240))
    light[3, 4] = 230
    matches = match_pixels(thumbnails([dark, light, digits[3]]), thumbnails([dark, *digits[:50]]))
    assert matches.is_copy.tolist() == [False, False, True]


def test_one_real_image_is_enough_to_find_its_copies(digits: list[Pixels]) -> None:
    matches = match_pixels(thumbnails([digits[0], digits[1]]), thumbnails(digits[:1]))
    assert matches.is_copy.tolist() == [True, False]


def test_copies_among_real_images_do_not_hide_others(digits: list[Pixels]) -> None:
    real = thumbnails([*digits[:300], *digits[:100]])
    matches = match_pixels(thumbnails([digits[0], digits[1000]]), real)
    assert matches.is_copy.tolist() == [True, False]


def test_thumbnails_are_normalised_in_brightness_and_contrast() -> None:
    image = np.random.default_rng(0).integers(0, 100, (40, 30, 3)).astype(np.uint8)
    small = thumbnails([image, 2 * image + 20])
    assert small.shape == (2, 192)
    assert small[0] == pytest.approx(small[1], abs=1e-3)
    assert np.square(small).sum(axis=1) == pytest.approx([1, 1], rel=1e-5)
    flat = thumbnails(np.full((1, 8, 8, 3), 77, np.uint8))
    assert np.abs(flat).max() < 1e-6
    assert mirrored(mirrored(small)) == pytest.approx(small)
    assert mirrored(small[:1]) == pytest.approx(thumbnails([np.ascontiguousarray(image[:, ::-1])]), abs=1e-5)
