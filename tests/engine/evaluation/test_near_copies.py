"""Held-out images that look like training images, on shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.data.open_source import open_source
from engine.data.real_shards import write_shard
from engine.evaluation.near_copies import find_near_copies
from engine.report.verdict_text import near_copy_text
from shards import ShardStream
from shards.codec import Pixels, encode_rgb, fit_rgb
from shards.errors import ShardError
from shards.sample import Sample
from tests.specs import data_spec


def write(place: Path, images: Sequence[Pixels], *, synthetic: bool = False, format: str = "png") -> ShardStream:
    """Write these images to one shard, and return its stream."""
    samples = (
        Sample(
            f"{place.name}{number}",
            encode_rgb(image, format, 80),
            format,
            0,
            {"key": f"{place.name}{number}", "label": 0, "class_name": "x", "synthetic": synthetic, "prompt": ""},
        )
        for number, image in enumerate(images)
    )
    write_shard(place, "00000", samples)
    return ShardStream(place, seed=3)


@pytest.fixture(scope="module")
def digits() -> list[Pixels]:
    return [fit_rgb(image.pixels(), 24, 24) for image in open_source(data_spec()).images[:140]]


def test_disjoint_images_have_no_near_copies(digits: list[Pixels], tmp_path: Path) -> None:
    train, held_out = write(tmp_path / "train", digits[:60]), write(tmp_path / "validation", digits[60:])
    assert find_near_copies([train], held_out) == []


def test_exact_and_near_copies_are_named_with_what_they_copy(digits: list[Pixels], tmp_path: Path) -> None:
    paler = (digits[7] * 0.8 + 20).astype(np.uint8)
    mirror = np.ascontiguousarray(digits[11][:, ::-1])
    judged = [*digits[60:70], digits[5], paler, mirror, fit_rgb(digits[13], 48, 48), digits[130]]
    train = write(tmp_path / "train", digits[:60])
    drawn = write(tmp_path / "drawn", digits[128:132], synthetic=True, format="jpg")
    held_out = write(tmp_path / "validation", judged)
    copies = {copy.held_out: (copy.train, copy.mirrored) for copy in find_near_copies([train, drawn], held_out)}
    assert copies == {
        "validation10": ("train5", False),
        "validation11": ("train7", False),
        "validation12": ("train11", True),
        "validation13": ("train13", False),
        "validation14": ("drawn2", False),
    }
    (copy,) = find_near_copies([train], write(tmp_path / "mirror" / "validation", [mirror]))
    assert near_copy_text(copy) == "validation0 is the mirror image of train11"


def test_an_image_that_cannot_be_decoded_is_named(digits: list[Pixels], tmp_path: Path) -> None:
    train = write(tmp_path / "train", digits[:20])
    held_out = write(tmp_path / "validation", digits[20:24])
    tar = tmp_path / "validation" / "00000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data.replace(b"\x89PNG", b"XPNG"))
    with pytest.raises(ShardError, match=r"validation/00000\.tar, sample 'validation0'"):
        find_near_copies([train], ShardStream(tmp_path / "validation"))
    assert len(held_out) == 4
