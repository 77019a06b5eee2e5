"""Templates and attributes, spread evenly."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.coverage import Coverage
from engine.plan import Plan, Slot
from engine.prompts import PromptBook
from engine.spec import ClassPrompts, PromptsSpec

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)


@given(SIZES, st.integers(1, 700))
def test_values_and_pairs_are_covered_as_evenly_as_the_number_allows(sizes: tuple[int, ...], draws: int) -> None:
    rows = [Coverage(sizes)[0]] if draws == 1 else _rows(sizes, draws)
    for factor, size in enumerate(sizes):
        counts = Counter(row[factor] for row in rows)
        found = [counts[value] for value in range(size)]
        assert max(found) - min(found) <= 1
    for a, b in combinations(range(len(sizes)), 2):
        counts_of_pairs = Counter((row[a], row[b]) for row in rows)
        pairs = [counts_of_pairs[x, y] for x in range(sizes[a]) for y in range(sizes[b])]
        # A draw at random would differ by about four standard deviations: 4 * sqrt(draws / pairs).
        assert max(pairs) - min(pairs) <= 5


def _rows(sizes: tuple[int, ...], draws: int) -> list[tuple[int, ...]]:
    found = Coverage(sizes)
    return [found[k] for k in range(draws)]


def test_evenness_lasts_over_cycles_and_access_is_random() -> None:
    sizes = (3, 4, 5)
    near, far = _rows(sizes, 20_000), Coverage(sizes)
    assert far[19_999] == near[19_999]
    for a, b in combinations(range(3), 2):
        counts = Counter((row[a], row[b]) for row in near)
        assert max(counts.values()) - min(counts.values()) <= 8
    assert len(set(near)) == 60


def slot(ordinal: int, label: int = 0) -> Slot:
    return Slot(ordinal, 0, ordinal, label, ordinal, f"{ordinal:09d}")


def test_templates_rotate() -> None:
    book = PromptBook(PromptsSpec(templates=("a {class}", "the {class}", "one {class}")), ["cat"])
    assert [book.prompt(slot(k)).text for k in range(4)] == ["a cat", "the cat", "one cat", "a cat"]


def test_attributes_that_a_template_leaves_out_are_not_claimed() -> None:
    spec = PromptsSpec(templates=("a {size} {class}", "a {class}"), attributes={"size": ("big", "small")})
    book = PromptBook(spec, ["cat"])
    found = [book.prompt(slot(k)) for k in range(8)]
    assert {prompt.attributes for prompt in found if prompt.text == "a cat"} == {()}
    assert {prompt.attributes for prompt in found if "big" in prompt.text} == {(("size", "big"),)}


def test_exceptions_by_class() -> None:
    spec = PromptsSpec(
        templates=("a {size} {class}",),
        attributes={"size": ("big",)},
        negative="blur",
        classes={
            "crane": ClassPrompts(name="crane, the bird", attributes={"size": ("tall",)}, negative="machine"),
            "dog": ClassPrompts(templates=("good {class}",)),
        },
    )
    book = PromptBook(spec, ["cat", "crane", "dog"])
    found = [book.prompt(slot(0, label)) for label in range(3)]
    assert [prompt.text for prompt in found] == ["a big cat", "a tall crane, the bird", "good dog"]
    assert [prompt.negative for prompt in found] == ["blur", "machine", "blur"]


@pytest.mark.parametrize("text", ["{}", "{{class}}", '"{', "größe {0}", "{A}", "日本語 {class!r}", "%s $x"])
def test_other_braces_quotes_and_scripts_are_ordinary_characters(text: str) -> None:
    prompt = PromptBook(PromptsSpec(templates=(text + " {class}",)), ["cat"]).prompt(slot(0))
    assert prompt.text == text + " cat"


def test_a_class_name_is_not_read_as_a_template() -> None:
    book = PromptBook(PromptsSpec(templates=("{class} {size}",), attributes={"size": ("{class}",)}), ["{size}"])
    assert book.prompt(slot(0)).text == "{size} {class}"


def test_prompts_do_not_depend_on_the_size_of_units() -> None:
    book = PromptBook(PromptsSpec(templates=("a {class}", "the {class}")), ["cat", "dog"])
    plans = [Plan(("cat", "dog"), (0, 0), (40, 9), 5, per_shard, "") for per_shard in (4, 49)]
    first, second = ([book.prompt(plan.slot(i)) for i in range(49)] for plan in plans)
    assert first == second
