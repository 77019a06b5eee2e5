"""Tests of cleaning attributes, of their kinds, and of clusters that use all of them evenly."""

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

SINGLE_KIND = st.lists(st.sampled_from(FREE + COLOURS + SIZES + COUNTS), min_size=1, unique=True)
ANY_KINDS = st.lists(st.sampled_from(FREE + COLOURS + SIZES + COUNTS + MIXED), min_size=1, unique=True)
KEYS = st.integers(0, 2**63 - 1)


def count_uses(clusters: AttributeClusters, cycle: int) -> Counter[str]:
    start = cycle * clusters.cycle_length
    ordinals = range(start, start + clusters.cycle_length)
    return Counter(attribute for ordinal in ordinals for attribute in clusters.draw(ordinal))


def contradict(first: str, second: str) -> bool:
    return bool(attribute_kinds(first) & attribute_kinds(second))


@given(ANY_KINDS, st.integers(1, 6), KEYS, st.integers(0, 10**9))
def test_a_prompt_has_as_many_distinct_attributes_as_fit(
    attributes: list[str], per_prompt: int, key: int, ordinal: int
) -> None:
    drawn = AttributeClusters(attributes, per_prompt, key).draw(ordinal)
    assert len(set(drawn)) == len(drawn) <= per_prompt
    assert set(drawn) <= set(attributes)
    assert not any(contradict(*pair) for pair in combinations(drawn, 2))
    if len(drawn) < per_prompt:
        unused = set(attributes) - set(drawn)
        assert all(any(contradict(attribute, other) for other in drawn) for attribute in unused)


@given(ANY_KINDS, st.integers(1, 6), KEYS, st.integers(0, 3))
def test_every_cycle_uses_all_evenly(attributes: list[str], per_prompt: int, key: int, cycle: int) -> None:
    uses = count_uses(AttributeClusters(attributes, per_prompt, key), cycle)
    assert set(uses) == set(attributes)
    for kinds in {attribute_kinds(attribute) for attribute in attributes}:
        counts = [uses[attribute] for attribute in attributes if attribute_kinds(attribute) == kinds]
        assert max(counts) - min(counts) <= 1


@given(SINGLE_KIND, st.integers(1, 6), KEYS, st.integers(0, 3))
def test_without_a_large_kind_each_is_used_once(attributes: list[str], per_prompt: int, key: int, cycle: int) -> None:
    kind_sizes = Counter(kind for attribute in attributes for kind in attribute_kinds(attribute))
    clusters = AttributeClusters(attributes, per_prompt, key)
    uses = count_uses(clusters, cycle)
    if max(kind_sizes.values(), default=0) * per_prompt <= len(attributes):
        assert clusters.cycle_length == -(-len(attributes) // per_prompt)
        assert max(uses.values()) <= 2
        assert uses.total() - len(attributes) < per_prompt
    else:  # no prompt has two of the largest kind, and no other reason makes a cycle longer than this
        assert clusters.cycle_length == max(*kind_sizes.values(), -(-len(attributes) // per_prompt))


@given(ANY_KINDS, st.integers(1, 4), KEYS, st.lists(st.integers(0, 150), max_size=8))
def test_draws_do_not_depend_on_their_order(
    attributes: list[str], per_prompt: int, key: int, ordinals: list[int]
) -> None:
    in_order = AttributeClusters(attributes, per_prompt, key)
    drawn = [in_order.draw(ordinal) for ordinal in range(151)]
    assert [AttributeClusters(attributes, per_prompt, key).draw(ordinal) for ordinal in ordinals] == [
        drawn[o] for o in ordinals
    ]


@pytest.mark.parametrize(
    "attributes", [FREE[:9], COLOURS[:2] + SIZES[:1] + FREE[:5], COLOURS[:3] + SIZES[:2] + COUNTS[:2] + FREE[:1]]
)
def test_all_compatible_pairs_occur(attributes: Sequence[str]) -> None:
    clusters = AttributeClusters(attributes, 2, 11)
    pairs = {frozenset(clusters.draw(ordinal)) for ordinal in range(3000)}
    assert pairs == {frozenset(pair) for pair in combinations(attributes, 2) if not contradict(*pair)}


@pytest.mark.parametrize(("per_prompt", "each"), [(2, 4), (2, 2), (3, 1)])
def test_exactly_fitting_kinds_leave_no_gap(per_prompt: int, each: int) -> None:
    attributes = [*COLOURS[:each], *SIZES[:each], *COUNTS[:each]]
    for key in range(10):
        clusters = AttributeClusters(attributes, per_prompt, key)
        assert clusters.cycle_length * per_prompt == len(attributes)
        assert count_uses(clusters, key) == dict.fromkeys(attributes, 1)


def test_combinations_differ_between_cycles_and_keys() -> None:
    clusters = AttributeClusters(FREE, 2, 1)
    first, second = ([clusters.draw(cycle * 20 + place) for place in range(20)] for cycle in range(2))
    assert len({frozenset(pair) for pair in first} & {frozenset(pair) for pair in second}) < 5
    assert first != [AttributeClusters(FREE, 2, 2).draw(place) for place in range(20)]


def test_draws_are_the_same_in_later_versions() -> None:
    # Later versions replay runs; other draws would give other images.
    clusters = AttributeClusters(["white", "small", "two", "old", "furry", "wet", "small white"], 2, 5)
    drawn = [clusters.draw(ordinal) for ordinal in (0, 1, 10**9)]
    assert drawn == [("two", "white"), ("white", "small"), ("small white", "wet")]


def test_a_prompt_gets_one_attribute_of_a_single_kind() -> None:
    clusters = AttributeClusters(COLOURS, 3, 0)
    assert count_uses(clusters, 0) == dict.fromkeys(COLOURS, 1)
    assert clusters.cycle_length == len(COLOURS)


def test_attributes_beside_a_large_kind_are_repeated() -> None:
    colours = [
        f"{shade} {colour}" for shade in ("light", "deep", "soft") for colour in ("red", "green", "blue", "grey")
    ]
    uses = count_uses(AttributeClusters([*colours, *SIZES, "furry", "wet"], 2, 3), 1)
    assert [uses[colour] for colour in colours] == [1] * 12
    assert {uses[other] for other in (*SIZES, "furry", "wet")} == {1, 2}  # 12 places for 7


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
def test_kinds_follow_from_words(attribute: str, kinds: set[str]) -> None:
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
def test_cleaning_is_idempotent(values: list[str]) -> None:
    once = clean_attributes(values)
    assert clean_attributes(once) == once
    assert len(set(once)) == len(once)


def test_only_the_classes_of_a_run_are_read(tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_text(json.dumps({"cat": ["White ", "white", "furry"], "dog": ["big"], "owl": 7}))
    assert read_attributes(path, ["dog", "cat"]) == {"dog": ("big",), "cat": ("white", "furry")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ('["white"]', 'must hold {class: [attribute, ...]}, not ["white"]'),
        ('{"automobil": ["red"]}', "has no class 'automobile'; did you mean its 'automobil'?"),
        ('{"cat": ["red"], "dog": ["red"]}', "has no class 'automobile'; it has cat, dog"),
        ('{"automobile": "red"}', """class 'automobile' must have a list of strings, not "red\""""),
        ('{"automobile": ["red", 3]}', "class 'automobile' must have a list of strings, not [\"red\", 3]"),
        ('{"automobile": [" ", "of"]}', "class 'automobile' has no attribute among its 2 entries"),
    ],
)
def test_a_wrong_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SpecError) as error:
        read_attributes(path, ["automobile"])
    assert str(error.value).startswith(f"prompts.clusters.path: {path}")
    assert message in str(error.value)


def test_a_missing_file_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no file .*none\.json; `python -m jobs attributes` writes one"):
        read_attributes(tmp_path / "none.json", ["cat"])


@needs_visual_genome
@pytest.mark.parametrize("per_prompt", [2, 5])
def test_attributes_of_real_images_are_used_evenly(per_prompt: int) -> None:
    names = json.loads(VISUAL_GENOME.read_text())
    for name, attributes in read_attributes(VISUAL_GENOME, names).items():
        assert len(attributes) <= len(names[name])
        clusters = AttributeClusters(attributes, per_prompt, 1)
        uses = count_uses(clusters, 3)
        assert set(uses) == set(attributes), name
        assert {len(clusters.draw(ordinal)) for ordinal in range(clusters.cycle_length)} == {per_prompt}
        assert max(uses.values()) <= 2
        assert uses.total() - len(attributes) < 2 * per_prompt
