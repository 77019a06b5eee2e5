"""Tests of the prompts of slots: templates, attributes, strategies and banks."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config.prompts_spec import ClassPrompts, ClustersSpec, PromptsSpec, Strategy
from engine.errors import SpecError
from engine.prompts.prompt_bank import BankRow, write_bank
from engine.prompts.prompt_sampler import PromptSampler
from engine.run.plan import Plan
from engine.types import Slot


def make_sampler(spec: PromptsSpec, classes: list[str], quota: int = 1000, **files: Path) -> PromptSampler:
    return PromptSampler(spec, classes, [quota] * len(classes), files, seed=0)


def slot(ordinal: int, label: int = 0) -> Slot:
    return Slot(ordinal, 0, label, ordinal, f"{ordinal:09d}")


def test_templates_rotate() -> None:
    sampler = make_sampler(PromptsSpec(templates=("a {class}", "the {class}", "one {class}")), ["cat"])
    assert [sampler.prompt(slot(k)).text for k in range(4)] == ["a cat", "the cat", "one cat", "a cat"]


def test_only_used_attributes_are_recorded() -> None:
    spec = PromptsSpec(templates=("a {size} {class}", "a {class}"), attributes={"size": ("big", "small")})
    sampler = make_sampler(spec, ["cat"])
    prompts = [sampler.prompt(slot(k)) for k in range(8)]
    assert {prompt.attributes for prompt in prompts if prompt.text == "a cat"} == {()}
    assert {prompt.attributes for prompt in prompts if "big" in prompt.text} == {(("size", "big"),)}


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
    sampler = make_sampler(spec, ["cat", "crane", "dog"])
    prompts = [sampler.prompt(slot(0, label)) for label in range(3)]
    assert [prompt.text for prompt in prompts] == ["a big cat", "a tall crane, the bird", "good dog"]
    assert [prompt.negative for prompt in prompts] == ["blur", "machine", "blur"]


@pytest.mark.parametrize("text", ["{}", "{{class}}", '"{', "größe {0}", "{A}", "日本語 {class!r}", "%s $x"])
def test_other_braces_and_scripts_are_ordinary_characters(text: str) -> None:
    prompt = make_sampler(PromptsSpec(templates=(text + " {class}",)), ["cat"]).prompt(slot(0))
    assert prompt.text == text + " cat"


def test_a_class_name_is_no_template() -> None:
    sampler = make_sampler(PromptsSpec(templates=("{class} {size}",), attributes={"size": ("{class}",)}), ["{size}"])
    assert sampler.prompt(slot(0)).text == "{size} {class}"


def test_prompts_do_not_depend_on_the_unit_size() -> None:
    sampler = make_sampler(PromptsSpec(templates=("a {class}", "the {class}")), ["cat", "dog"])
    plans = [Plan(("cat", "dog"), (0, 0), (40, 9), 5, per_shard, "") for per_shard in (4, 49)]
    first, second = ([sampler.prompt(plan.slot(i)) for i in range(49)] for plan in plans)
    assert first == second


MIXED = PromptsSpec(
    mix=(
        Strategy(name="label", templates=("a {class}",), share=1),
        Strategy(name="size", templates=("a {size} {class}",), attributes={"size": ("big", "wee")}, share=2),
        Strategy(name="bank", bank="b.parquet", share=1),
    ),
    classes={"dog": ClassPrompts(name="hound", negative="cat")},
)


def write_rows(folder: Path, *rows: tuple[str, str, str]) -> dict[str, Path]:
    path = folder / "b.parquet"
    write_bank(path, [BankRow(name, text, source, "m", "i", 0) for name, text, source in rows])
    return {"b.parquet": path}


@given(quota=st.integers(0, 60))
def test_strategies_share_every_class_exactly(quota: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = write_rows(
        tmp_path_factory.mktemp("bank"), ("cat", "the cat", ""), ("dog", "one dog", "5e"), ("dog", "a dog", "")
    )
    sampler = PromptSampler(MIXED, ["cat", "dog"], [quota, quota], files, seed=0)
    for label in (0, 1):
        prompts = [sampler.prompt_at(label, ordinal) for ordinal in range(quota)]
        counts = Counter(prompt.strategy for prompt in prompts)
        for name, share in (("label", 1), ("size", 2), ("bank", 1)):
            assert abs(counts[name] - quota * share / 4) < 1
        sizes = Counter(dict(prompt.attributes)["size"] for prompt in prompts if prompt.strategy == "size")
        assert max(sizes.values(), default=0) - min((sizes["big"], sizes["wee"])) <= 1
    dogs = [sampler.prompt_at(1, ordinal) for ordinal in range(quota)]
    assert {prompt.negative for prompt in dogs} <= {"cat"}
    assert {prompt.text for prompt in dogs} <= {"a hound", "a big hound", "a wee hound", "one dog", "a dog"}
    assert all(prompt.source == ("5e" if prompt.text == "one dog" else "") for prompt in dogs)
    assert set(sampler.described_images()) == {("dog", "5e")}


def test_many_small_classes_have_every_strategy(tmp_path: Path) -> None:
    names = [f"class{n}" for n in range(40)]
    files = write_rows(tmp_path, *((name, f"{name}!", "") for name in names))
    sampler = PromptSampler(MIXED, names, [1] * 40, files, seed=0)
    counts = Counter(sampler.prompt_at(label, 0).strategy for label in range(40))
    assert all(abs(counts[name] - 40 * share / 4) <= 2 for name, share in (("label", 1), ("size", 2), ("bank", 1)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "b.parquet is empty"),
        ([("cat", "a cat", "")], "has no prompt for class 'dog'"),
    ],
)
def test_a_bank_without_prompts_is_refused(rows: list[tuple[str, str, str]], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        PromptSampler(MIXED, ["cat", "dog"], [4, 4], write_rows(tmp_path, *rows), seed=0)


def test_another_file_is_no_bank(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("not parquet")
    with pytest.raises(SpecError, match=r"prompts\.bank: .* is not a prompt bank"):
        PromptSampler(MIXED, ["cat"], [4], {"b.parquet": tmp_path / "b.parquet"}, seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bank": "b", "templates": ("a {class}",)}, "without templates"),
        ({"mix": (Strategy(name="a"),), "templates": ("a {class}",)}, "belong in each of its strategies"),
        ({"mix": (Strategy(name="a"), Strategy(name="a"))}, "holds a name twice"),
        ({"templates": ("a {attributes} {class}",)}, "needs clusters"),
        ({"clusters": ClustersSpec(path="a.json")}, "would be unused"),
        ({"attributes": {"class": ("a",)}, "templates": ("{class}",)}, "a meaning of its own"),
        ({"templates": ("{class} {size}",)}, "the attributes are"),
        ({"templates": ("{class}",), "attributes": {"size": ("big",)}}, "no template of templates uses"),
    ],
)
def test_contradicting_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptsSpec(**fields)
