"""Reading of masks: colours and grey indices give the same classes, and damage is named."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.data.masks import colours_of, read_mask
from engine.errors import DataError

PALETTE = {"road": (140, 140, 140), "car": (0, 102, 200), "tree": (4, 200, 3)}


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def random_mask(seed: int = 0, shape: tuple[int, int] = (6, 9), classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape, dtype=np.uint8)


@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=255, unique=True),
    st.integers(0, 99),
    st.sampled_from(["RGB", "RGBA"]),
)
def test_colours_and_grey_indices_are_the_same(colours: list, seed: int, mode: str) -> None:
    palette = {str(number): colour for number, colour in enumerate(colours)}
    mask = random_mask(seed, classes=len(palette))
    assert np.array_equal(read_mask(png(colours_of(palette)[mask], mode), palette, "", "condition.palette"), mask)
    assert np.array_equal(read_mask(png(mask), palette, "", "condition.palette"), mask)


def test_png_with_its_own_palette_is_read_by_colours() -> None:
    mask = random_mask()
    image = Image.fromarray(2 - mask).convert("P")
    image.putpalette([value for colour in reversed(PALETTE.values()) for value in colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    assert np.array_equal(read_mask(file.getvalue(), PALETTE, "", "condition.palette"), mask)


def test_unknown_colour_is_located() -> None:
    pixels = colours_of(PALETTE)[random_mask()]
    pixels[4, 7] = (1, 2, 3)
    with pytest.raises(DataError, match=r"pixel 7,4 has the colour \[1, 2, 3\], which condition.palette does not name"):
        read_mask(png(pixels), PALETTE, "a.png", "condition.palette")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(np.full((4, 4), 3, np.uint8)), "a.png: a grey mask holds class indices, and 3 is none of the 3"),
        (png(np.full((4, 4), 9, np.uint16)), "a.png: not a PNG of 8 bits a channel, or truncated"),
        (png(random_mask(shape=(90, 90)))[:400], "a.png: not a PNG of 8 bits a channel, or truncated"),
        (b"no image", "a.png: not a PNG"),
        (b"", "a.png: not a PNG"),
    ],
)
def test_damaged_masks_are_named(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_mask(data, PALETTE, "a.png", "condition.palette")
