"""Width and height from headers: those that decoding gives."""

import io
import resource
import struct

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
def test_the_header_tells_what_decoding_gives(height: int, width: int, form: str, before: int) -> None:
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
def test_less_common_forms(form: str, options: dict[str, object]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (31, 57), (9, 99, 199)).save(buffer, form, **options)
    data = buffer.getvalue()
    assert image_size(data, 0, len(data))[1:] == (31, 57)


def test_16_bits_and_alpha() -> None:
    data = cv2.imencode(".png", np.zeros((5, 8, 4), np.uint16))[1].tobytes()
    assert image_size(data, 0, len(data)) == ("png", 8, 5)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_one_that_is_cut_short_is_found_anywhere(form: str) -> None:
    data = encode_rgb(np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8), form)
    for length in range(len(data)):
        with pytest.raises(CorruptImage):
            image_size(data, 0, length)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]))
def test_any_bytes_are_an_image_or_corrupt(data: bytes, head: bytes) -> None:
    try:
        form, width, height = image_size(head + data, 0, len(head + data))
        assert form in ("png", "jpg", "webp")
        assert min(width, height) > 0
    except CorruptImage:
        pass


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
@pytest.mark.parametrize("buffer", [None, np.zeros((5, 9, 3), np.uint8)])
def test_a_small_file_that_claims_to_be_huge_is_not_decoded(form: str, buffer: np.ndarray | None) -> None:
    data = encode_rgb(np.zeros((5, 9, 3), np.uint8), form)
    claims = {
        "png": data[:16] + struct.pack(">II", 60_000, 60_000) + data[24:],
        "jpg": data.replace(struct.pack(">HH", 5, 9), struct.pack(">HH", 65_500, 65_500), 1),
        "webp": data[:26] + struct.pack("<HH", 16_383, 16_383) + data[30:],
    }[form]
    assert claims != data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptImage):
        decode_rgb(claims, buffer)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "no gigabyte was touched"
