"""The export format parquet, read with datasets and our own source."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine.data.open_source import open_source
from engine.export.formats import parquet_files
from tests.engine.export.exports import CLASSES, exported, files, stored
from tests.engine.shardsets import make_shards, masked, plain_shards
from tests.specs import data_spec


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return plain_shards(tmp_path / "shards", CLASSES)


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_parquet_gives_our_own_source_equal_images_and_labels(form: str, tmp_path: Path) -> None:
    shards = plain_shards(tmp_path / "shards", CLASSES, form=form)
    out = exported(shards, tmp_path / "out", "parquet")
    spec = data_spec(source="parquet", path=str(out), image_column="image", label_column="label")
    real = open_source(spec)
    assert real.classes == CLASSES
    assert [(sample.label, sample.read()) for sample in real.images] == [
        (sample.label, sample.image) for sample in stored(shards)
    ]
    assert files(exported(shards, tmp_path / "again", "parquet")) == files(out)


def test_hub_client_reads_parquet_with_its_classes(shards: Path, tmp_path: Path) -> None:
    from datasets import ClassLabel, load_dataset
    from datasets import Image as ImageFeature

    out = exported(shards, tmp_path / "out", "parquet", "--splits", "train=0.9,test=0.1")
    whole = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    direct = load_dataset("parquet", data_files=str(out / "train/*.parquet"), cache_dir=str(tmp_path / "cache"))
    assert whole["train"].features == direct["train"].features
    assert whole["train"].features["label"] == ClassLabel(names=list(CLASSES))
    assert isinstance(whole["train"].features["image"], ImageFeature)
    expected = {sample.key: sample for sample in stored(shards)}
    assert {row["key"] for split in whole.values() for row in split} == set(expected)
    for row in whole["test"]:
        sample = expected[row["key"]]
        image = row.pop("image")
        assert row == sample.meta
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(sample.image))))


def test_parquet_files_and_row_groups_are_bounded(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = max(len(sample.image) for sample in stored(shards)) + 1000
    monkeypatch.setattr(parquet_files, "_GROUP_BYTES", 3 * size)
    monkeypatch.setattr(parquet_files, "_FILE_BYTES", 9 * size)
    out = exported(shards, tmp_path / "out", "parquet")
    tables = [pq.ParquetFile(path) for path in sorted(out.glob("*.parquet"))]
    groups = [[table.metadata.row_group(g).num_rows for g in range(table.num_row_groups)] for table in tables]
    assert len(groups) > 2
    assert all(rows <= 4 for file in groups for rows in file)
    assert sum(rows for file in groups for rows in file) == 30
    assert [row for table in tables for row in table.read(["key"])["key"].to_pylist()] == [
        sample.key for sample in stored(shards)
    ]


def test_parquet_keeps_masks(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", ("harbour",), [[masked("0", 0), masked("1", 1)]])
    table = pq.read_table(exported(shards, tmp_path / "out", "parquet"))
    assert [row["bytes"] for row in table["mask"].to_pylist()] == [sample.mask for sample in stored(shards)]
