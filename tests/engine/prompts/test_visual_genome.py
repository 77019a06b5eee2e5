"""Tests of counting attributes in Visual Genome, and of the command `attributes`."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError, OutputError, SpecError
from engine.prompts.attribute_clusters import read_attributes
from engine.prompts.visual_genome import (
    add_hyponyms,
    choose_synsets,
    count_attributes,
    rank_attributes,
    write_attributes,
)
from engine.prompts.wordnet import WordNet
from tests.conftest import Jobs, text_of
from tests.optional import WORDNET, needs_wordnet


def make_object(synsets: Sequence[str], *attributes: str) -> dict[str, Any]:
    """Return an object as in Visual Genome: without the key `attributes` if nobody described it."""
    content: dict[str, Any] = {
        "synsets": synsets,
        "h": 339,
        "object_id": 1058498,
        "names": ["it"],
        "w": 79,
        "y": 9,
        "x": 4,
    }
    return {**content, "attributes": list(attributes)} if attributes else content


IMAGES = (
    [
        make_object(["airplane.n.01"], "White ", "white", "parked"),
        make_object(["airplane.n.01"]),
        make_object(["fighter.n.02"], "grey", "in formation"),
    ],
    [],
    [
        make_object(["biplane.n.01", "dog.n.01"], "white", "  red"),
        make_object(["poodle.n.01"], "white", "a"),
        make_object([], "invisible"),
        make_object(["frank.n.02"], "grilled"),
    ],
)


def write_visual_genome(folder: Path, images: Iterable[Sequence[dict[str, Any]]] = IMAGES) -> Path:
    path = folder / "visual_genome.json"
    path.write_text(
        json.dumps([{"image_id": number, "attributes": objects} for number, objects in enumerate(images, 1)])
    )
    return path


def test_an_object_counts_once_for_each_class_of_its_synsets(tmp_path: Path) -> None:
    synsets = {
        "plane": {"airplane.n.01", "biplane.n.01"},
        "dog": {"dog.n.01"},
        "food": {"frank.n.02", "hotdog.n.02"},
    }
    assert count_attributes(write_visual_genome(tmp_path), synsets) == {
        "plane": Counter({"white": 2, "parked": 1, "red": 1}),
        "dog": Counter({"white": 1, "red": 1}),
        "food": Counter({"grilled": 1}),
    }


def test_lists_are_sorted_by_count_then_by_name() -> None:
    counts = {"cat": Counter(black=2, wet=1, alert=2, white=5), "dog": Counter(big=2)}
    assert rank_attributes(counts, 1) == {"cat": ["white", "alert", "black", "wet"], "dog": ["big"]}
    assert rank_attributes(counts, 2)["cat"] == ["white", "alert", "black"]
    with pytest.raises(DataError, match="class 'dog': no attribute has 3 or more objects, the most frequent has 2"):
        rank_attributes(counts, 3)
    with pytest.raises(DataError, match="the most frequent has 0"):
        rank_attributes({"dog": Counter()}, 1)


def test_a_written_file_reads_back(tmp_path: Path) -> None:
    path, lists = tmp_path / "new" / "attributes.json", {"große": ["weiß", "big"], "dog": ["big"]}
    write_attributes(path, lists)
    first = path.read_bytes()
    write_attributes(path, lists)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["attributes.json"]
    assert read_attributes(path, lists) == {name: tuple(words) for name, words in lists.items()}


def test_an_unwritable_output_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_attributes(tmp_path / "file" / "attributes.json", {"cat": ["big"]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"PK\x03\x04", "not JSON"),
        (b'[{"image_id": 1, "attributes": [{"synsets": ["dog.n', "not JSON"),
        (b"[]", "no object with synsets and attributes; use its attributes.json"),
        (b'[{"image_id": 1, "regions": [{"phrase": "a dog"}]}]', "no object with synsets and attributes"),
        (b'{"dog": ["big"]}', "no object with synsets and attributes"),
    ],
)
def test_another_file_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        count_attributes(path, {"dog": {"dog.n.01"}})
    assert str(error.value).startswith(f"--visual-genome {path}: ")
    assert message in str(error.value)


@needs_wordnet
def test_a_class_has_listed_synsets_or_the_only_meaning() -> None:
    wordnet = WordNet(WORDNET)
    chosen = choose_synsets({"airplanes": [], "toy": ["plane.n.01", "toy_poodle.n.01"]}, wordnet)
    assert chosen == {"airplanes": {"airplane.n.01"}, "toy": {"airplane.n.01", "toy_poodle.n.01"}}
    wide = add_hyponyms(chosen, wordnet)
    assert wide["airplanes"] == {"airplane.n.01"} | wordnet.hyponyms("airplane.n.01")
    assert wide["toy"] == wide["airplanes"] | {"toy_poodle.n.01"}


@needs_wordnet
def test_several_meanings_are_shown_as_arguments() -> None:
    with pytest.raises(SpecError) as error:
        choose_synsets({"crane": [], "airplane": [], "truck": []}, WordNet(WORDNET))
    lines = str(error.value).splitlines()
    assert lines[0] == "--classes: choose a meaning, as NAME=SYNSET"
    assert [line.split()[0] for line in lines[1:]] == [
        *(f"crane={synset}" for synset in ("crane.n.01", "crane.n.02", "grus.n.01", "crane.n.04", "crane.n.05")),
        "truck=truck.n.01",
        "truck=hand_truck.n.01",
    ]
    assert lines[4].endswith("lifting tackle is suspended from a pivoted boom that rotates around a vertical axis")


@needs_wordnet
def test_a_name_unknown_to_wordnet_is_refused() -> None:
    with pytest.raises(SpecError, match="no noun 'zorgle'; use one of its synsets, zorgle=SYNSET"):
        choose_synsets({"zorgle": []}, WordNet(WORDNET))


@needs_wordnet
def test_the_command_writes_a_file_for_prompts(jobs: Jobs, tmp_path: Path) -> None:
    source, out = write_visual_genome(tmp_path), tmp_path / "out.json"
    common = ("attributes", "--visual-genome", source, "--wordnet", WORDNET, "--out", out)
    result = jobs(*common, "--classes", "airplane", "dog=dog.n.01")
    assert result.returncode == 0, text_of(result)
    assert result.stdout == f"{out}: airplane 5, dog 2\n"
    assert json.loads(out.read_text()) == {
        "airplane": ["white", "grey", "in formation", "parked", "red"],
        "dog": ["white", "red"],
    }
    result = jobs(*common, "--classes", "airplane", "dog=dog.n.01,frank.n.02", "--exact")
    assert result.returncode == 0, text_of(result)
    assert json.loads(out.read_text()) == {"airplane": ["parked", "white"], "dog": ["grilled", "red", "white"]}


@needs_wordnet
def test_the_command_takes_the_classes_of_a_spec(jobs: Jobs, tmp_path: Path) -> None:
    spec, out = tmp_path / "spec.yaml", tmp_path / "out.json"
    spec.write_text("{name: x, classes: [dog, airplane], plan: {per_class: 1}, model: {source: none}}")
    common = ("attributes", "--visual-genome", write_visual_genome(tmp_path), "--wordnet", WORDNET, "--out", out)
    result = jobs(*common, "--spec", spec)
    assert result.returncode == 2
    assert "\n  dog=frank.n.02  a smooth-textured sausage" in result.stderr
    result = jobs(*common, "--spec", spec, "--classes", "dog=frank.n.02")
    assert result.returncode == 0, text_of(result)
    assert list(json.loads(out.read_text())) == ["dog", "airplane"]
    result = jobs(*common, "--spec", spec, "--classes", "dgo=dog.n.01")
    assert result.returncode == 2
    assert "has no class 'dgo'; it has dog, airplane" in result.stderr
    result = jobs(*common)
    assert result.returncode == 2
    assert "give --classes, or --spec" in result.stderr
