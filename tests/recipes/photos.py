"""Real photos: a few of CIFAR-10, as a folder of one folder per class."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.data.open_source import open_source
from tests.optional import CIFAR10, needs_cifar10
from tests.specs import data_spec

HALVES = "data.splits={world: 0, train: 0.5, validation: 0.5, test: 0}"


def write_photos(folder: Path, counts: Mapping[str, int]) -> Path:
    """Write the first photos of each class. Skips the test where CIFAR-10 is not beside this checkout."""
    if not CIFAR10.is_dir():
        pytest.skip(needs_cifar10.kwargs["reason"])

    path = str(CIFAR10 / "test.parquet")
    remaining = dict(counts)
    for image in open_source(data_spec(source="parquet", path=path)).images:
        if remaining.get(image.class_name):
            remaining[image.class_name] -= 1
            place = folder / image.class_name / f"{remaining[image.class_name]:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(image.read())
    assert not any(remaining.values())
    return folder
