"""The plan of a reshard: the decisions that follow from the sources, and the sources that it refuses."""

import json
import shutil
from pathlib import Path

import pytest

from shards import ShardCache, ShardError
from shards.tools.reshard_plan import ReshardOptions, ReshardPlanner
from tests.shards.tools.shard_folders import CLASSES, make_plan, make_sample, write_folder, write_foreign


def test_other_image_bytes_change_the_digest(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    before, tar = make_plan([copy]).digest, copy / "00000.tar"
    assert make_plan([copy]).digest == before
    content = bytearray(tar.read_bytes())
    content[content.index(b"IDAT") + 4] ^= 1
    tar.write_bytes(content)
    assert make_plan([copy]).digest != before


def test_a_key_in_two_shards_is_refused(source: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", [make_sample(i) for i in (7000, 17, 7001)], 1)
    with pytest.raises(ShardError, match=f"'s00017' is in {source}/00001.tar and in {other}/00001.tar"):
        make_plan([source, other])
    selected = frozenset(["s00003", "s07001"])
    assert make_plan([source, other], ReshardOptions(select=selected)).total == 2


def test_a_shard_that_is_named_twice_is_refused(source: Path) -> None:
    with pytest.raises(ShardError, match="named twice"):
        ReshardPlanner([str(source), str(source / "00001.tar")], ReshardOptions(), ShardCache())


def test_more_shards_than_samples_are_refused(source: Path) -> None:
    with pytest.raises(ShardError, match="only 40 samples"):
        make_plan([source], ReshardOptions(shards=41))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cat", "dog"), "label 1 is 'dog', but in the sources before it label 1 is 'sea lion'"),
        (("sea lion", "cat"), "label 0 is 'sea lion'"),
    ],
)
def test_other_class_names_are_refused(source: Path, tmp_path: Path, classes: tuple[str, ...], message: str) -> None:
    other = write_folder(tmp_path / "other", [make_sample(i, False, classes) for i in range(4)], 2, classes)
    with pytest.raises(ShardError, match=message):
        make_plan([source, other])


@pytest.mark.parametrize("classes", [("cat", "sea lion", "größe", "cat "), ("cat",)])
def test_more_or_fewer_classes_are_merged(source: Path, tmp_path: Path, classes: tuple[str, ...]) -> None:
    other = write_folder(tmp_path / "other", [make_sample(i, False, classes) for i in range(4)], 2, classes)
    assert make_plan([source, other]).classes == max(CLASSES, classes, key=len)


def test_sources_with_and_without_names_are_refused(source: Path, tmp_path: Path) -> None:
    write_foreign(tmp_path / "foreign")
    with pytest.raises(ShardError, match="put an _info"):
        make_plan([source, tmp_path / "foreign"])
    (tmp_path / "foreign" / "_info.json").write_text(json.dumps({"classes": CLASSES}))
    plan = make_plan([source, tmp_path / "foreign"])
    assert (plan.classes, plan.has_class_names) == (CLASSES, True)


@pytest.mark.parametrize("size", [600, 5000, -1024])
def test_a_truncated_source_is_refused(source: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "00000.tar").write_bytes((source / "00000.tar").read_bytes()[:size])
    with pytest.raises(ShardError, match=f"{tmp_path}/00000.tar, byte"):
        make_plan([tmp_path])
