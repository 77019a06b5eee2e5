"""Clustered attributes: what counts as one, which exclude each other, and that all are used evenly."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.prompts.attribute_clusters import AttributeClusters, attribute_kinds, clean_attributes, read_attributes
from tests.optional import VISUAL_GENOME, needs_visual_genome

FREE = [f"free{chr(97 + a)}{chr(97 + b)}" for a in range(5) for b in range(8)]
COLOURS = ["white", "black", "grey", "red and white", "light brown", "dark-blue", "teal", "reddish"]
SIZES = ["small", "very large", "tiny", "huge", "tall"]
COUNTS = ["two", "3", "many", "several"]
MIXED = ["small white", "big black", "two red", "old green", "three young", "standing white", "tiny old"]

single = st.lists(st.sampled_from(FREE + COLOURS + SIZES + COUNTS), min_size=1, unique=True)
any_list = st.lists(st.sampled_from(FREE + COLOURS + SIZES + COUNTS + MIXED), min_size=1, unique=True)
keys = st.integers(0, 2**63 - 1)


def uses(clusters: AttributeClusters, cycle: int) -> Counter[str]:
    start = cycle * clusters.cycle_length
    return Counter(one for ordinal in range(start, start + clusters.cycle_length) for one in clusters.draw(ordinal))


def contradicts(one: str, other: str) -> bool:
    return bool(attribute_kinds(one) & attribute_kinds(other))


@given(any_list, st.integers(1, 6), keys, st.integers(0, 10**9))
def test_a_prompt_has_distinct_attributes_that_agree_and_no_more_would_fit(
    attributes: list[str], per_prompt: int, key: int, ordinal: int
) -> None:
    drawn = AttributeClusters(attributes, per_prompt, key).draw(ordinal)
    assert len(set(drawn)) == len(drawn) <= per_prompt
    assert set(drawn) <= set(attributes)
    assert not any(contradicts(one, other) for one, other in combinations(drawn, 2))
    if len(drawn) < per_prompt:
        left = set(attributes) - set(drawn)
        assert all(any(contradicts(one, other) for other in drawn) for one in left)


@given(any_list, st.integers(1, 6), keys, st.integers(0, 3))
def test_every_cycle_uses_all_and_those_of_the_same_kinds_alike(
    attributes: list[str], per_prompt: int, key: int, cycle: int
) -> None:
    found = uses(AttributeClusters(attributes, per_prompt, key), cycle)
    assert set(found) == set(attributes)
    for kinds in {attribute_kinds(one) for one in attributes}:
        alike = [found[one] for one in attributes if attribute_kinds(one) == kinds]
        assert max(alike) - min(alike) <= 1


@given(single, st.integers(1, 6), keys, st.integers(0, 3))
def test_without_a_crowded_kind_each_is_used_once_but_for_what_fills_the_last_prompt(
    attributes: list[str], per_prompt: int, key: int, cycle: int
) -> None:
    crowds = Counter(kind for one in attributes for kind in attribute_kinds(one))
    clusters = AttributeClusters(attributes, per_prompt, key)
    found = uses(clusters, cycle)
    if max(crowds.values(), default=0) * per_prompt <= len(attributes):
        assert clusters.cycle_length == -(-len(attributes) // per_prompt)
        assert max(found.values()) <= 2
        assert found.total() - len(attributes) < per_prompt
    else:  # no prompt has two of the largest kind, and no other reason makes a cycle longer than this
        assert clusters.cycle_length == max(*crowds.values(), -(-len(attributes) // per_prompt))


@given(any_list, st.integers(1, 4), keys, st.lists(st.integers(0, 500), max_size=20))
def test_the_order_of_asking_does_not_matter(
    attributes: list[str], per_prompt: int, key: int, ordinals: list[int]
) -> None:
    in_order = AttributeClusters(attributes, per_prompt, key)
    drawn = [in_order.draw(ordinal) for ordinal in range(501)]
    assert [AttributeClusters(attributes, per_prompt, key).draw(ordinal) for ordinal in ordinals] == [drawn[o] for o in ordinals]


@pytest.mark.parametrize(
    "attributes", [FREE[:9], COLOURS[:2] + SIZES[:1] + FREE[:5], COLOURS[:3] + SIZES[:2] + COUNTS[:2] + FREE[:1]]
)
def test_in_time_all_that_agree_have_met(attributes: Sequence[str]) -> None:
    clusters = AttributeClusters(attributes, 2, 11)
    met = {frozenset(clusters.draw(ordinal)) for ordinal in range(3000)}
    assert met == {frozenset(pair) for pair in combinations(attributes, 2) if not contradicts(*pair)}


@pytest.mark.parametrize(("per_prompt", "each"), [(2, 4), (2, 2), (3, 1)])
def test_kinds_that_leave_no_freedom_are_packed_without_a_gap(per_prompt: int, each: int) -> None:
    attributes = [*COLOURS[:each], *SIZES[:each], *COUNTS[:each]]
    for key in range(10):
        clusters = AttributeClusters(attributes, per_prompt, key)
        assert clusters.cycle_length * per_prompt == len(attributes)
        assert uses(clusters, key) == dict.fromkeys(attributes, 1)


def test_pairings_differ_from_cycle_to_cycle_and_from_key_to_key() -> None:
    clusters = AttributeClusters(FREE, 2, 1)
    first, second = ([clusters.draw(cycle * 20 + place) for place in range(20)] for cycle in range(2))
    assert len({frozenset(pair) for pair in first} & {frozenset(pair) for pair in second}) < 5
    assert first != [AttributeClusters(FREE, 2, 2).draw(place) for place in range(20)]


def test_what_is_drawn_stays_as_it_is() -> None:
    # Runs are replayed by later versions: other draws would be other images.
    clusters = AttributeClusters(["white", "small", "two", "old", "furry", "wet", "small white"], 2, 5)
    drawn = [clusters.draw(ordinal) for ordinal in (0, 1, 10**9)]
    assert drawn == [("two", "white"), ("white", "small"), ("small white", "wet")]


def test_a_list_of_one_kind_gives_one_each() -> None:
    clusters = AttributeClusters(COLOURS, 3, 0)
    assert uses(clusters, 0) == dict.fromkeys(COLOURS, 1)
    assert clusters.cycle_length == len(COLOURS)


def test_what_stands_beside_a_crowded_kind_is_repeated() -> None:
    colours = [
        f"{shade} {colour}" for shade in ("light", "deep", "soft") for colour in ("red", "green", "blue", "grey")
    ]
    found = uses(AttributeClusters([*colours, *SIZES, "furry", "wet"], 2, 3), 1)
    assert [found[colour] for colour in colours] == [1] * 12
    assert {found[other] for other in (*SIZES, "furry", "wet")} == {1, 2}  # 12 places for 7


@pytest.mark.parametrize(
    ("attribute", "kinds"),
    [
        ("white", {"colour"}),
        ("Light Brown", {"colour"}),
        ("gray-and-black", {"colour"}),
        ("greyish", {"colour"}),
        ("three", {"count"}),
        ("2", {"count"}),
        ("a 747", set()),
        ("very large", {"size"}),
        ("lying down", {"posture"}),
        ("in flight", {"posture"}),
        ("vintage", {"age"}),
        ("two small white", {"count", "size", "colour"}),
        ("furry", set()),
        ("redwood", set()),
    ],
)
def test_kinds_go_by_words(attribute: str, kinds: set[str]) -> None:
    assert attribute_kinds(attribute) == kinds


def test_cleaning() -> None:
    raw = [
        "Navy ",
        "navy",
        "  dark   Blue",
        "white,",
        "white.",
        "",
        " ",
        "?!",
        "e",
        "of",
        "is it",
        "4",
        "u.s. navy",
        "größe",
    ]
    assert clean_attributes(raw) == ("navy", "dark blue", "white", "4", "u.s. navy", "größe")


@given(st.lists(st.text()))
def test_cleaning_twice_changes_nothing(values: list[str]) -> None:
    once = clean_attributes(values)
    assert clean_attributes(once) == once
    assert len(set(once)) == len(once)


def test_reads_the_classes_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_text(json.dumps({"cat": ["White ", "white", "furry"], "dog": ["big"], "owl": 7}))
    assert read_attributes(path, ["dog", "cat"]) == {"dog": ("big",), "cat": ("white", "furry")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ('["white"]', 'must hold {class: [attribute, ...]}, not ["white"]'),
        ('{"automobil": ["red"]}', "has no class 'automobile'; did you mean its 'automobil'?"),
        ('{"cat": ["red"], "dog": ["red"]}', "has no class 'automobile'; it has cat, dog"),
        ('{"automobile": "red"}', """class 'automobile' must have a list of texts, not "red\""""),
        ('{"automobile": ["red", 3]}', "class 'automobile' must have a list of texts, not [\"red\", 3]"),
        ('{"automobile": [" ", "of"]}', "class 'automobile' has no attribute among its 2 entries"),
    ],
)
def test_a_wrong_file_is_told_in_words(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SpecError) as error:
        read_attributes(path, ["automobile"])
    assert str(error.value).startswith(f"prompts.clusters.path: {path}")
    assert words in str(error.value)


def test_a_missing_file_names_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no file .*none\.json; `python -m jobs attributes` writes one"):
        read_attributes(tmp_path / "none.json", ["cat"])


@needs_visual_genome
@pytest.mark.parametrize("per_prompt", [2, 5])
def test_attributes_of_real_images_are_used_evenly(per_prompt: int) -> None:
    names = json.loads(VISUAL_GENOME.read_text())
    for name, attributes in read_attributes(VISUAL_GENOME, names).items():
        assert len(attributes) <= len(names[name])
        clusters = AttributeClusters(attributes, per_prompt, 1)
        found = uses(clusters, 3)
        assert set(found) == set(attributes), name
        assert {len(clusters.draw(ordinal)) for ordinal in range(clusters.cycle_length)} == {per_prompt}
        assert max(found.values()) <= 2
        assert found.total() - len(attributes) < 2 * per_prompt
