"""Width and height that are read from image headers."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shards.codec import CorruptImage, decode_rgb, encode_rgb
from shards.reading.image_size import image_size

SIDES = st.integers(1, 300)


@given(SIDES, SIDES, st.sampled_from(["png", "jpg", "webp"]), st.integers(0, 600))
def test_the_header_size_equals_the_decoded_size(height: int, width: int, form: str, before: int) -> None:
    image = encode_rgb(np.zeros((height, width, 3), np.uint8), form)
    assert image_size(b"x" * before + image + b"y" * 9, before, len(image)) == (form, width, height)
    assert decode_rgb(image).shape == (height, width, 3)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("webp", {"lossless": True}),
        ("webp", {"exif": b"Exif\0\0 some"}),
        ("jpeg", {"progressive": True, "exif": b"x" * 60_000}),
        ("jpeg", {"comment": b"y" * 5000}),
    ],
)
def test_less_common_variants_are_read(form: str, options: dict[str, object]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (31, 57), (9, 99, 199)).save(buffer, form, **options)
    data = buffer.getvalue()
    assert image_size(data, 0, len(data))[1:] == (31, 57)


def test_a_png_of_16_bits_with_alpha_is_read() -> None:
    data = cv2.imencode(".png", np.zeros((5, 8, 4), np.uint16))[1].tobytes()
    assert image_size(data, 0, len(data)) == ("png", 8, 5)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_truncated_image_is_corrupt(form: str) -> None:
    data = encode_rgb(np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8), form)
    for length in range(len(data)):
        with pytest.raises(CorruptImage):
            image_size(data, 0, length)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]))
def test_arbitrary_bytes_are_an_image_or_corrupt(data: bytes, head: bytes) -> None:
    try:
        form, width, height = image_size(head + data, 0, len(head + data))
        assert form in ("png", "jpg", "webp")
        assert min(width, height) > 0
    except CorruptImage:
        pass
