"""The export format imagefolder, read with datasets and torchvision."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.class_folders import class_name
from tests.engine.export.exports import CLASSES, HOSTILE, exported, files, stored
from tests.engine.shardsets import make_shards, plain_shards, sample


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return plain_shards(tmp_path / "shards", CLASSES)


def test_image_folder_holds_every_image_with_its_bytes(shards: Path, tmp_path: Path) -> None:
    out = exported(shards, tmp_path / "out", "imagefolder")
    rows = {row["file_name"]: row for row in map(json.loads, (out / "metadata.jsonl").read_text().splitlines())}
    samples = list(stored(shards))
    assert len(samples) == len(rows) == 30
    for stored_sample in samples:
        name = f"{stored_sample.meta['class_name']}/{stored_sample.key}.png"
        assert (out / name).read_bytes() == stored_sample.image
        assert rows[name] == {"file_name": name, **stored_sample.meta}
    assert set(files(out)) == {*rows, "metadata.jsonl", "README.md"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shards"], "no temporary files remain"
    assert files(exported(shards, tmp_path / "again", "imagefolder")) == files(out)


@pytest.mark.parametrize("splits", [(), ("--splits", "train=0.8,holdout=0.2")])
def test_hub_client_reads_an_image_folder(shards: Path, tmp_path: Path, splits: tuple[str, ...]) -> None:
    from datasets import load_dataset

    out = exported(shards, tmp_path / "out", "imagefolder", *splits)
    dataset = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(dataset) == ({"train", "holdout"} if splits else {"train"})
    expected = {sample.key: sample for sample in stored(shards)}
    rows = [row for split in dataset.values() for row in split]
    assert sorted(row["key"] for row in rows) == sorted(expected)
    for row in rows:
        sample = expected[row["key"]]
        image = row.pop("image")
        assert row == sample.meta
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(sample.image))))


def test_torchvision_reads_an_image_folder_of_hostile_classes(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    out = exported(plain_shards(tmp_path / "shards", HOSTILE, 2), tmp_path / "out", "imagefolder")
    image_folder = ImageFolder(str(out))
    assert {class_name(folder) for folder in image_folder.classes} == set(HOSTILE)
    assert Counter(class_name(image_folder.classes[label]) for label in image_folder.targets) == Counter(
        dict.fromkeys(HOSTILE, 2)
    )
    assert {path.name for path in tmp_path.iterdir()} == {"shards", "out"}


def test_hub_client_does_not_take_a_class_for_a_split(tmp_path: Path) -> None:
    from datasets import load_dataset

    out = exported(plain_shards(tmp_path / "shards", HOSTILE, 1), tmp_path / "out", "imagefolder")
    dataset = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert Counter(dataset["class_name"]) == Counter(HOSTILE)


def test_a_class_without_images_keeps_its_place(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", ("a", "b", "c"), [[sample("0", 2, "c", 0)]])
    out = exported(shards, tmp_path / "out", "imagefolder")
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["a", "b", "c"]
