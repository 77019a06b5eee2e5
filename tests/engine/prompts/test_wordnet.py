"""Tests of the meanings of a name, plurals, names of synsets, and hyponyms."""

from pathlib import Path

import pytest

from engine.errors import DataError, SpecError
from engine.prompts.wordnet import WordNet
from tests.optional import WORDNET, needs_wordnet


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    return WordNet(WORDNET)


@needs_wordnet
def test_meanings_have_wordnets_order_and_gloss(wordnet: WordNet) -> None:
    meanings = wordnet.meanings("crane")
    # The name of the third is its first lemma.
    assert [meaning.synset for meaning in meanings] == [
        "crane.n.01",
        "crane.n.02",
        "grus.n.01",
        "crane.n.04",
        "crane.n.05",
    ]
    assert meanings[4].gloss == "large long-necked wading bird of marshes and plains in many parts of the world"
    assert wordnet.meanings("wading birb") == []


@needs_wordnet
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("sea lion", "sea_lion.n.01"),
        ("Sea_Lions", "sea_lion.n.01"),
        ("  fire   truck ", "fire_engine.n.01"),
        ("wolves", "wolf.n.01"),
        ("geese", "goose.n.01"),
        ("boxes", "box.n.01"),
        ("firemen", "fireman.n.01"),
        ("ponies", "pony.n.01"),
        ("glasses", "spectacles.n.01"),  # not several glasses
        ("t-shirt", "jersey.n.03"),
    ],
)
def test_plurals_and_names_of_several_words(wordnet: WordNet, name: str, first: str) -> None:
    assert wordnet.meanings(name)[0].synset == first


@needs_wordnet
def test_a_synset_has_a_name_by_each_of_its_lemmas(wordnet: WordNet) -> None:
    assert wordnet.meaning("plane.n.01") == wordnet.meaning("Airplane.n.01") == wordnet.meanings("airplanes")[0]


@needs_wordnet
def test_hyponyms_are_all_synsets_below(wordnet: WordNet) -> None:
    assert {"fighter.n.02", "biplane.n.01", "airliner.n.01"} <= wordnet.hyponyms("airplane.n.01")
    dogs, canines = wordnet.hyponyms("dog.n.01"), wordnet.hyponyms("canine.n.02")
    assert dogs < canines
    assert "dog.n.01" in canines - dogs
    assert wordnet.hyponyms("poodle.n.01") < dogs
    assert wordnet.hyponyms("toy_poodle.n.01") == set()
    assert "golden_gate_bridge.n.01" in wordnet.hyponyms("bridge.n.01")  # an instance


@needs_wordnet
@pytest.mark.parametrize(
    ("synset", "advice"),
    [
        ("truck.n.03", "'truck' has truck.n.01, hand_truck.n.01"),
        ("truck.n.00", "'truck' has truck.n.01, hand_truck.n.01"),
        ("truck", "'truck' has truck.n.01, hand_truck.n.01"),
        ("truk.n.01", "write one like airplane.n.01"),
        ("", "write one like airplane.n.01"),
    ],
)
def test_an_unknown_synset_is_refused_with_known_ones(wordnet: WordNet, synset: str, advice: str) -> None:
    with pytest.raises(SpecError) as error:
        wordnet.hyponyms(synset)
    assert str(error.value) == f"WordNet has no noun synset {synset!r}; {advice}"


@needs_wordnet
def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WNSEARCHDIR", str(WORDNET))
    assert WordNet().meanings("frog")
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    with pytest.raises(DataError, match=str(tmp_path)):
        WordNet()


def test_a_folder_without_wordnet_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        WordNet(tmp_path)
    assert f"{tmp_path}/index.noun cannot be read: No such file" in str(error.value)
    assert "apt-get install wordnet-base" in str(error.value)
    assert "--wordnet or $WNSEARCHDIR" in str(error.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.noun").write_text("  17 WordNet 3.1 Copyright 2011 by Princeton University.\n")
    for name in ("data.noun", "noun.exc", "cntlist.rev"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="does not hold version 3"):
        WordNet(tmp_path)


@needs_wordnet
@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("cat", ["cat.n.01"]),  # not a gossip or a tractor
        ("horses", ["horse.n.01"]),
        ("crane", ["crane.n.04", "crane.n.05"]),  # the machine and the bird; no writer
        ("kite", ["kite.n.03", "kite.n.04"]),  # the toy and the bird; no fraud
        ("mouse", ["mouse.n.01", "mouse.n.03", "mouse.n.04"]),
        ("seven-winged blarg", []),
    ],
)
def test_likely_meanings(name: str, likely: list[str], wordnet: WordNet) -> None:
    assert [meaning.synset for meaning in wordnet.likely_meanings(name)] == likely
