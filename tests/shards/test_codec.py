"""Decoding of single images."""

import resource
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from shards.codec import CorruptImage, decode_rgb, encode_rgb


def test_jpegs_are_decoded_as_by_cv2() -> None:
    rng = np.random.default_rng(1)
    for shape in ((33, 47), (8, 8), (1, 1), (64, 17)):
        for channels in (1, 3):
            pixels = cv2.GaussianBlur(rng.integers(0, 255, (*shape, channels), np.uint8), (0, 0), 2)
            data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            out = np.zeros((*shape, 3), np.uint8)
            assert (decode_rgb(data) == expected).all()
            assert decode_rgb(data, out) is out
            assert (out == expected).all()
            wrong = np.zeros((shape[0] + 1, shape[1], 3), np.uint8)
            assert (decode_rgb(data, wrong) == expected).all()
            small = np.zeros((1, 1, 1), np.uint8)
            assert (decode_rgb(data, small) == expected).all()


def test_a_jpeg_with_a_hole_is_corrupt(tmp_path: Path) -> None:
    steps = np.mgrid[0:256, 0:256].sum(0)
    jpeg = bytearray(encode_rgb(np.stack([steps // 2] * 3, axis=-1).astype(np.uint8), "jpg"))
    middle = len(jpeg) // 2
    jpeg[middle : middle + 64] = bytes(64)
    with pytest.raises(CorruptImage, match="premature end of data"):
        decode_rgb(bytes(jpeg))


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
@pytest.mark.parametrize("buffer", [None, np.zeros((5, 9, 3), np.uint8)])
def test_an_image_with_a_huge_stated_size_is_not_decoded(form: str, buffer: np.ndarray | None) -> None:
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
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "decoding allocates no gigabyte"
