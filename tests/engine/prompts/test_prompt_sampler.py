"""Templates and attributes, spread evenly."""

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config.prompts_spec import ClassPrompts, ClustersSpec, PromptsSpec, Strategy
from engine.errors import SpecError
from engine.prompts.coverage import Coverage
from engine.prompts.prompt_bank import BankRow, write_bank
from engine.prompts.prompt_sampler import PromptSampler
from engine.run.plan import Plan
from engine.types import Slot

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
        assert max(pairs) - min(pairs) <= 8


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


def book_of(spec: PromptsSpec, classes: list[str], quota: int = 1000, **files: Path) -> PromptSampler:
    return PromptSampler(spec, classes, [quota] * len(classes), files, seed=0)


def slot(ordinal: int, label: int = 0) -> Slot:
    return Slot(ordinal, 0, label, ordinal, f"{ordinal:09d}")


def test_templates_rotate() -> None:
    book = book_of(PromptsSpec(templates=("a {class}", "the {class}", "one {class}")), ["cat"])
    assert [book.prompt(slot(k)).text for k in range(4)] == ["a cat", "the cat", "one cat", "a cat"]


def test_attributes_that_a_template_leaves_out_are_not_claimed() -> None:
    spec = PromptsSpec(templates=("a {size} {class}", "a {class}"), attributes={"size": ("big", "small")})
    book = book_of(spec, ["cat"])
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
    book = book_of(spec, ["cat", "crane", "dog"])
    found = [book.prompt(slot(0, label)) for label in range(3)]
    assert [prompt.text for prompt in found] == ["a big cat", "a tall crane, the bird", "good dog"]
    assert [prompt.negative for prompt in found] == ["blur", "machine", "blur"]


@pytest.mark.parametrize("text", ["{}", "{{class}}", '"{', "größe {0}", "{A}", "日本語 {class!r}", "%s $x"])
def test_other_braces_quotes_and_scripts_are_ordinary_characters(text: str) -> None:
    prompt = book_of(PromptsSpec(templates=(text + " {class}",)), ["cat"]).prompt(slot(0))
    assert prompt.text == text + " cat"


def test_a_class_name_is_not_read_as_a_template() -> None:
    book = book_of(PromptsSpec(templates=("{class} {size}",), attributes={"size": ("{class}",)}), ["{size}"])
    assert book.prompt(slot(0)).text == "{size} {class}"


def test_prompts_do_not_depend_on_the_size_of_units() -> None:
    book = book_of(PromptsSpec(templates=("a {class}", "the {class}")), ["cat", "dog"])
    plans = [Plan(("cat", "dog"), (0, 0), (40, 9), 5, per_shard, "") for per_shard in (4, 49)]
    first, second = ([book.prompt(plan.slot(i)) for i in range(49)] for plan in plans)
    assert first == second


MIXED = PromptsSpec(
    mix=(
        Strategy(name="label", templates=("a {class}",), share=1),
        Strategy(name="size", templates=("a {size} {class}",), attributes={"size": ("big", "wee")}, share=2),
        Strategy(name="bank", bank="b.parquet", share=1),
    ),
    classes={"dog": ClassPrompts(name="hound", negative="cat")},
)


def bank(folder: Path, *rows: tuple[str, str, str]) -> dict[str, Path]:
    path = folder / "b.parquet"
    write_bank(path, [BankRow(name, text, source, "m", "i", 0) for name, text, source in rows])
    return {"b.parquet": path}


@given(quota=st.integers(0, 60))
def test_strategies_share_every_class_exactly(quota: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = bank(
        tmp_path_factory.mktemp("bank"), ("cat", "the cat", ""), ("dog", "one dog", "5e"), ("dog", "a dog", "")
    )
    book = PromptSampler(MIXED, ["cat", "dog"], [quota, quota], files, seed=0)
    for label in (0, 1):
        prompts = [book.prompt_at(label, ordinal) for ordinal in range(quota)]
        counts = Counter(prompt.strategy for prompt in prompts)
        for name, share in (("label", 1), ("size", 2), ("bank", 1)):
            assert abs(counts[name] - quota * share / 4) < 1
        sizes = Counter(dict(prompt.attributes)["size"] for prompt in prompts if prompt.strategy == "size")
        assert max(sizes.values(), default=0) - min((sizes["big"], sizes["wee"])) <= 1
    dogs = [book.prompt_at(1, ordinal) for ordinal in range(quota)]
    assert {prompt.negative for prompt in dogs} <= {"cat"}
    assert {prompt.text for prompt in dogs} <= {"a hound", "a big hound", "a wee hound", "one dog", "a dog"}
    assert all(prompt.source == ("5e" if prompt.text == "one dog" else "") for prompt in dogs)
    assert set(book.described_images()) == {("dog", "5e")}


def test_few_images_of_many_classes_still_have_every_strategy(tmp_path: Path) -> None:
    names = [f"class{n}" for n in range(40)]
    files = bank(tmp_path, *((name, f"{name}!", "") for name in names))
    book = PromptSampler(MIXED, names, [1] * 40, files, seed=0)
    found = Counter(book.prompt_at(label, 0).strategy for label in range(40))
    assert all(abs(found[name] - 40 * share / 4) <= 2 for name, share in (("label", 1), ("size", 2), ("bank", 1)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "b.parquet is empty"),
        ([("cat", "a cat", "")], "has no prompt for class 'dog'"),
    ],
)
def test_a_bank_that_lacks_prompts(rows: list[tuple[str, str, str]], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        PromptSampler(MIXED, ["cat", "dog"], [4, 4], bank(tmp_path, *rows), seed=0)


def test_a_bank_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("not parquet")
    with pytest.raises(SpecError, match=r"prompts\.bank: .* is not a prompt bank"):
        PromptSampler(MIXED, ["cat"], [4], {"b.parquet": tmp_path / "b.parquet"}, seed=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bank": "b", "templates": ("a {class}",)}, "without templates"),
        ({"mix": (Strategy(name="a"),), "templates": ("a {class}",)}, "belong in each of its strategies"),
        ({"mix": (Strategy(name="a"), Strategy(name="a"))}, "holds a name twice"),
        ({"templates": ("a {attributes} {class}",)}, "takes clusters"),
        ({"clusters": ClustersSpec(path="a.json")}, "would be unused"),
        ({"attributes": {"class": ("a",)}, "templates": ("{class}",)}, "a meaning of its own"),
        ({"templates": ("{class} {size}",)}, "the attributes are"),
        ({"templates": ("{class}",), "attributes": {"size": ("big",)}}, "no template of templates uses"),
    ],
)
def test_wordings_that_contradict_themselves(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptsSpec(**given)
