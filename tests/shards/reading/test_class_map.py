"""The mapping of labels by class names."""

from pathlib import Path

import pytest

from shards import ShardError, ShardStream
from tests.shards.folders import write

NAMES = {0: "cat", 1: "dog", 2: "owl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stream"), "s", 50, True, classes=NAMES, mask=True)


def test_labels_follow_the_given_class_names(folder: Path) -> None:
    stream = ShardStream(folder, classes=["owl", "cat", "pet"], class_map={"dog": "pet"}, shuffle=False)
    assert stream.read(range(6)).label.tolist() == [1, 2, 0, 1, 2, 0]
    assert stream.classes == {0: "owl", 1: "cat", 2: "pet"}
    without = ShardStream(folder, classes=["cat", "owl"], class_map={"dog": None}, shuffle=False)
    assert without.read(range(4)).label.tolist() == [0, 1, 0, 1]
    assert len(without) == 33
    with pytest.raises(ShardError, match=r"class 'dog' \(label 1 in the shards\) is none of \['cat', 'owl'\]"):
        ShardStream(folder, classes=["cat", "owl"])
    with pytest.raises(ShardError, match="no sample is left of 50"):
        ShardStream(folder, classes=["fox"], class_map=dict.fromkeys(NAMES.values()))
    with pytest.raises(ValueError, match="give those as well"):
        ShardStream(folder, class_map={"dog": None})


def test_shards_without_names_are_mapped_by_label(tmp_path: Path) -> None:
    write(tmp_path, "r", 9, False)
    stream = ShardStream(tmp_path, classes=["a", "b"], class_map={0: "b", 1: "a", 2: None}, shuffle=False)
    assert stream.read(range(6)).label.tolist() == [1, 0, 1, 0, 1, 0]
    with pytest.raises(ShardError, match=r"the shards have no name for label 0: give one, class_map=\{0: NAME\}"):
        ShardStream(tmp_path, classes=["a", "b"])


def test_a_mapped_label_renames_only_nameless_classes(folder: Path, tmp_path: Path) -> None:
    nameless = write(tmp_path, "t", 3, False, classes={})
    renamed = {0: "owl", 1: "owl", 2: None}
    stream = ShardStream([folder, nameless], classes=["cat", "dog", "owl"], class_map=renamed, shuffle=False)
    assert stream.read(range(6)).label.tolist() == [0, 1, 2, 0, 1, 2]
    assert stream.read([50, 51]).label.tolist() == [2, 2]
    assert len(stream) == 52


def test_folders_with_equal_labels_form_one_stream(folder: Path, tmp_path: Path) -> None:
    second_folder = write(tmp_path / "more", "t", 10, True, classes=NAMES)
    stream = ShardStream([folder, second_folder / "{00000..00001}.tar"], seed=3)
    assert sorted(stream.read(range(60)).key) == [f"s{n:04d}" for n in range(50)] + [f"t{n:04d}" for n in range(10)]
    other = write(tmp_path / "other", "u", 10, True, classes={0: "dog", 1: "cat", 2: "owl"})
    with pytest.raises(ShardError, match="label 0 is 'cat' in some shards and 'dog' in others"):
        ShardStream([folder, other])
    aligned = ShardStream([folder, other], classes=["cat", "dog", "owl"], shuffle=False)
    assert aligned.read([0, 1, 50, 51]).label.tolist() == [0, 1, 1, 0]
