"""What a generator is given besides a prompt: the right image, whole; and layouts whose every pixel is a class."""

import io
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.config.condition_spec import EdgesSpec, RealCondition, ShapesCondition
from engine.data.masks import colours_of, read_mask
from engine.data.real_shards import write_shard
from engine.errors import DataError
from engine.generators.conditioning.condition import Layout, ImageCondition
from engine.generators.conditioning.condition_sampler import ConditionSampler
from engine.generators.conditioning.layouts import check_shape, draw_shapes
from engine.types import Slot
from shards.codec import encode_mask, encode_rgb
from shards.sample import Sample

PALETTE = {"road": (140, 140, 140), "car": (0, 102, 200), "tree": (4, 200, 3)}


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def slot(label: int, ordinal: int) -> Slot:
    return Slot(ordinal, 0, label, ordinal, str(ordinal))


def some_mask(seed: int = 0, shape: tuple[int, int] = (6, 9), classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape, dtype=np.uint8)


@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=255, unique=True),
    st.integers(0, 99),
    st.sampled_from(["RGB", "RGBA"]),
)
def test_colours_and_grey_indices_read_as_the_same_mask(colours: list, seed: int, mode: str) -> None:
    palette = {str(number): colour for number, colour in enumerate(colours)}
    mask = some_mask(seed, classes=len(palette))
    assert np.array_equal(read_mask(png(colours_of(palette)[mask], mode), palette, "", "condition.palette"), mask)
    assert np.array_equal(read_mask(png(mask), palette, "", "condition.palette"), mask)


def test_a_png_with_a_palette_of_its_own_is_read_by_its_colours() -> None:
    mask = some_mask()
    image = Image.fromarray(mask[:, ::-1] * 0 + (2 - mask)).convert("P")
    image.putpalette([value for colour in reversed(PALETTE.values()) for value in colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    assert np.array_equal(read_mask(file.getvalue(), PALETTE, "", "condition.palette"), mask)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            png(np.full((4, 4, 3), 141, np.uint8)),
            r"pixel 0,0 has the colour \[141, 141, 141\], .* does not name",
        ),
        (png(np.full((4, 4), 3, np.uint8)), "a.png: a grey mask holds class indices, and 3 is none of the 3"),
        (png(np.full((4, 4), 9, np.uint16)), "a.png: not a PNG of 8 bits a channel, or broken off"),
        (png(some_mask(shape=(90, 90)))[:400], "a.png: not a PNG of 8 bits a channel, or broken off"),
        (b"no image", "a.png: not a PNG"),
        (b"", "a.png: not a PNG"),
    ],
)
def test_what_is_wrong_with_a_layout_is_said(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_mask(data, PALETTE, "a.png", "condition.palette")


def test_the_unknown_colour_is_where_it_is_said_to_be() -> None:
    pixels = colours_of(PALETTE)[some_mask()]
    pixels[4, 7] = (1, 2, 3)
    with pytest.raises(DataError, match=r"pixel 7,4 has the colour \[1, 2, 3\]"):
        read_mask(png(pixels), PALETTE, "a.png", "condition.palette")


@pytest.mark.parametrize(
    ("mask", "frame", "fits"),
    [((6, 9), (512, 768), True), ((6, 9), (1, 1), False), ((9, 6), (512, 768), False), ((683, 1024), (512, 768), True)],
)
def test_a_layout_of_another_shape_is_refused(mask: tuple[int, int], frame: tuple[int, int], fits: bool) -> None:
    if fits:
        check_shape(np.zeros(mask, np.uint8), *frame, "a.png")
    else:
        with pytest.raises(DataError, match=rf"a.png: is {mask[1]}x{mask[0]} pixels, and the images will be"):
            check_shape(np.zeros(mask, np.uint8), *frame, "a.png")


@given(st.integers(0, 2**63 - 1), st.integers(1, 5))
def test_drawn_layouts_follow_from_the_seed_and_show_their_class(seed: int, most: int) -> None:
    drawn = draw_shapes(seed, 1, 0, most, (64, 96))
    assert np.array_equal(drawn, draw_shapes(seed, 1, 0, most, (64, 96)))
    assert not np.array_equal(drawn, draw_shapes(seed ^ 1, 1, 0, most, (64, 96)))
    assert set(np.unique(drawn)) == {0, 1}


@pytest.mark.parametrize("shape", [(3, 3), (64, 48), (7, 90)])
def test_a_layout_is_scaled_to_the_nearest_and_shown_in_its_colours(shape: tuple[int, int]) -> None:
    mask = some_mask(shape=(24, 18))
    layout = Layout("", lambda: mask, colours_of(PALETTE))
    expected = np.asarray(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))
    assert np.array_equal(layout.mask_at(*shape), expected)
    assert np.array_equal(layout.control(*shape), np.array(list(PALETTE.values()), np.uint8)[expected])


def test_edges_are_found_in_the_size_in_which_they_are_used() -> None:
    pixels = np.asarray(Image.effect_mandelbrot((40, 40), (-2, -1.5, 1, 1.5), 60).convert("RGB"))
    edges = ImageCondition("", lambda: pixels, EdgesSpec()).control(20, 20)
    expected = cv2.Canny(cv2.resize(pixels, (20, 20), interpolation=cv2.INTER_AREA), 100, 200)
    assert np.array_equal(edges, np.repeat(expected[..., None], 3, axis=2))
    assert 0 < (edges > 0).mean() < 1


def test_a_picture_is_cut_to_the_shape_around_its_centre() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    picture = ImageCondition("", lambda: pixels, None)
    assert (picture.control(20, 20) > 150).all()
    assert picture.control(20, 20).shape == (20, 20, 3)
    assert picture.mask_at(20, 20) is None


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A shard of five images of class 0 and three of class 1, each of one grey."""
    samples = []
    for number in range(8):
        label = int(number >= 5)
        meta = {"key": f"c{number}", "label": label, "class_name": str(label), "synthetic": False, "prompt": ""}
        data = encode_rgb(np.full((4, 4, 3), number, np.uint8), "png")
        mask = encode_mask(np.full((4, 4), label, np.uint8))
        samples.append(Sample(f"c{number}", data, "png", label, meta | {"digest": f"d{number}"}, mask))
    write_shard(tmp_path, "00000", samples)
    return tmp_path


def test_images_of_the_own_class_come_equally_often_and_not_in_step(pictures: Path) -> None:
    book = ConditionSampler(RealCondition(source="real"), pictures, ("a", "b"), None)
    for label, digests in ((0, ["d0", "d1", "d2", "d3", "d4"]), (1, ["d5", "d6", "d7"])):
        found = [book.condition(slot(label, ordinal), 0, "").source for ordinal in range(10 * len(digests))]
        assert Counter(found) == dict.fromkeys(digests, 10)
        rounds = [tuple(found[start : start + len(digests)]) for start in range(0, len(found), len(digests))]
        assert all(sorted(one) == digests for one in rounds), "none a second time before all others"
        assert len(set(rounds)) > 1


def test_the_image_that_a_prompt_describes_comes_with_it(pictures: Path) -> None:
    book = ConditionSampler(RealCondition(source="real"), pictures, ("a", "b"), None)
    found = book.condition(slot(1, 0), 0, "d6")
    assert found.source == "d6"
    assert (found.control(4, 4) == 6).all()


def test_a_drawn_layout_is_stretched_to_the_shape_of_the_images() -> None:
    spec = ShapesCondition(source="shapes", palette=PALETTE, background="road")
    book = ConditionSampler(spec, None, ("tree", "car"), PALETTE)
    condition = book.condition(slot(1, 0), 7, "")
    assert condition.control(32, 64).shape == (32, 64, 3)
    mask = condition.mask_at(32, 64)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}, "road and car, in the palette's order"
