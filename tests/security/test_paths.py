"""No content of foreign shards becomes a path, whatever their keys, formats and classes are."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.class_folders import file_name
from jobs.__main__ import main
from shards import ShardStream
from shards.errors import ShardError
from shards.sample import Sample
from tests.engine.shardsets import make_shards, masked, plain_shards

Change = Callable[[dict[str, Any]], dict[str, Any]]
CLASSES = ("cat", "../../dog", "/etc")


def changed(folder: Path, change: Change) -> Path:
    """Change one row in the index of each shard, as a hostile writer could, and return the folder."""
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        rows = table.to_pylist()
        rows[0] |= change(rows[0])
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    return folder


@pytest.mark.parametrize("form", ["imagefolder", "coco", "parquet"])
@pytest.mark.parametrize(
    "row",
    [
        {"key": "../../../escaped"},
        {"key": "/escaped"},
        {"key": "a/../../../../escaped"},
        {"key": "../../../", "image_format": "escaped"},
        {"image_format": "/../../../../escaped"},
        {"image_format": None},
    ],
)
def test_an_export_writes_within_its_folder(form: str, row: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "c" / "d"
    if form == "coco":
        shards = make_shards(place / "shards", ("harbour",), [[masked(f"{n:09d}", n) for n in range(2)]])
    else:
        shards = plain_shards(place / "shards", CLASSES)
    changed(shards, lambda _: row)
    before = set(tmp_path.rglob("*"))
    code = main(["export", str(shards), "--to", form, "--out", str(place / "out")])
    created = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(place / "out") for path in created), created
    assert (code == 0) == ("image_format" not in row)
    if code == 0:
        assert "scaped" in "".join(path.name for path in created) or form == "parquet"


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_key_is_one_file_and_another_key_another_one(key: str) -> None:
    name = file_name(Sample(key, b"", "png", 0, {}))
    assert Path(name).name == name
    assert not name.startswith(("..", "__"))
    assert "\0" not in name
    if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() and not key.startswith("_"):
        assert name == f"{key}.png" or key.lower()[:3] in ("con", "prn", "aux", "nul", "com", "lpt")
    other = file_name(Sample(key + "%2F", b"", "png", 0, {}))
    assert other not in (name, file_name(Sample(key + "/", b"", "png", 0, {})))


@pytest.mark.parametrize("sample", [("k" * 300, "png"), ("k", "exe"), ("k", "png/../x")])
def test_what_is_no_file_of_an_image_is_refused(sample: tuple[str, str]) -> None:
    with pytest.raises(ShardError, match="cannot be a file of format"):
        file_name(Sample(sample[0], b"", sample[1], 0, {}))


@pytest.mark.parametrize(
    "row",
    [
        {"image_offset": -5},
        {"image_size": -1},
        {"image_offset": 2**62, "image_size": 2**62 + 2**61},
        {"image_offset": -1, "image_size": 4},
        {"key": None},
        {"image_offset": None},
    ],
)
def test_an_index_of_impossible_places_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    shards = changed(plain_shards(tmp_path / "shards", CLASSES), lambda _: row)
    with pytest.raises(ShardError, match=r"00000\.parquet: has invalid values: .*; run verify"):
        ShardStream(shards)


def test_an_index_of_other_types_is_refused(tmp_path: Path) -> None:
    shards = plain_shards(tmp_path / "shards", CLASSES)
    for column, values in (("label", ["a"]), ("image_offset", [{"x": 1}]), ("key", [b"\xff"])):
        folder = shutil.copytree(shards, tmp_path / column)
        path = folder / "00000.parquet"
        table = pq.read_table(path)
        odd = pa.array(values * table.num_rows)
        pq.write_table(table.set_column(table.column_names.index(column), column, odd), path)
        with pytest.raises(ShardError, match=r"00000\.parquet: "):
            ShardStream(folder)


def test_an_index_without_labels_is_one_of_unlabelled_samples(tmp_path: Path) -> None:
    shards = plain_shards(tmp_path / "shards", CLASSES)
    for path in shards.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["label", "class_name"]), path)
    stream = ShardStream(shards)
    assert stream.label.dtype == "int64"
    assert set(stream.label) == {-1}
