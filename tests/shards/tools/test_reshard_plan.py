"""The plan of a reshard: what it decides from a look at the sources, and which sources it refuses."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from shards import ShardCache, ShardError
from shards.tools.reshard_options import ReshardOptions
from shards.tools.reshard_plan import ReshardPlan, ReshardPlanner
from tests.shards.tools.shard_folders import *


def make_plan(sources: Iterable[Path], options: ReshardOptions | None = None) -> ReshardPlan:
    planner = ReshardPlanner([str(source) for source in sources], options or ReshardOptions(), ShardCache())
    assert list(planner.scan())[-1] == planner.shard_count
    return planner.plan()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [make_sample(i, score=i / 2, license="cc0-1.0") for i in range(40)]
    samples = [replace(sample, mask=encode_mask(np.full((4, 6), i, np.uint8))) for i, sample in enumerate(samples)]
    return write_folder(tmp_path_factory.mktemp("source"), samples, 12, license="cc0-1.0", model="m", revision="1")


def test_other_image_bytes_change_the_digest(source: Path, tmp_path: Path) -> None:
    def digest() -> str:
        return make_plan([copy]).digest

    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    before, tar = digest(), copy / "00000.tar"
    assert digest() == before
    content = bytearray(tar.read_bytes())
    content[content.index(b"IDAT") + 4] ^= 1
    tar.write_bytes(content)
    assert digest() != before


def test_a_key_in_two_shards_is_refused(source: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", [make_sample(i) for i in (7000, 17, 7001)], 1)
    with pytest.raises(ShardError, match=f"'s00017' is in {source}/00001.tar and in {other}/00001.tar"):
        reshard([source, other], tmp_path / "out")
    with pytest.raises(ShardError, match="named twice"):
        ReshardPlanner([str(source), str(source / "00001.tar")], ReshardOptions(), ShardCache())
    out = reshard([source, other], tmp_path / "out", select=frozenset(["s00003", "s07001"]))
    assert len(read_members(out)) == 9


@pytest.mark.parametrize(
    ("classes", "word"),
    [
        (("cat", "dog"), "label 1 is 'dog', but in the sources before it label 1 is 'sea lion'"),
        (("cat", "sea lion", "größe", "cat "), None),
        (("cat",), None),
        (("sea lion", "cat"), "label 0 is 'sea lion'"),
    ],
)
def test_classes_must_agree_by_name(source: Path, tmp_path: Path, classes: tuple[str, ...], word: str | None) -> None:
    other = write_folder(tmp_path / "other", [make_sample(i, False, classes) for i in range(4)], 2, classes)
    if word is None:
        out = reshard([source, other], tmp_path / "out")
        assert len(json.loads((out / "_info.json").read_text())["classes"]) == max(3, len(classes))
        return
    with pytest.raises(ShardError, match=word):
        reshard([source, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sources_with_and_without_names_are_refused(source: Path, tmp_path: Path) -> None:
    write_foreign(tmp_path / "foreign")
    with pytest.raises(ShardError, match="put an _info"):
        reshard([source, tmp_path / "foreign"], tmp_path / "out")
    (tmp_path / "foreign" / "_info.json").write_text(json.dumps({"classes": CLASSES}))
    out = reshard([source, tmp_path / "foreign"], tmp_path / "out")
    names = {row["key"]: row["class_name"] for row in read_rows(out, ["key", "class_name"])}
    assert [names[f"train/Bild {i}"] for i in range(4)] == ["cat", "sea lion", "größe", "cat"]


@pytest.mark.parametrize("at", [600, 5000, -1024])
def test_a_damaged_source_is_refused_by_name(source: Path, tmp_path: Path, at: int) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "00000.tar").write_bytes((source / "00000.tar").read_bytes()[:at])
    with pytest.raises(ShardError, match=f"{damaged}/00000.tar, byte"):
        reshard([damaged], tmp_path / "out")
    assert not (tmp_path / "out").exists()
