"""Spec files: what they may contain, overrides, and the errors that name a mistake."""

import json
from pathlib import Path

import pytest
import yaml

from engine.config.spec import Spec
from engine.config.spec_file import _parse, differences, dump_spec, identity, load_as, load_spec
from engine.config.strict import Strict
from engine.errors import SpecError
from engine.prompts.llm.bank_spec import CaptionBankSpec, PromptBankSpec
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.generator.generator_spec import GeneratorSpec

ROOT = Path(__file__).parents[3]
MINIMAL = {"name": "x", "classes": ["a", "b"], "plan": {"per_class": 2}, "model": {"source": "embedded/digits"}}


def write(folder: Path, content: object) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


OTHERS: dict[str, type[Strict]] = {
    "generator": GeneratorSpec,
    "finetune": FinetuneSpec,
    "prompts": PromptBankSpec,
    "captions": CaptionBankSpec,
}
"""What a spec is that does not describe a run, by the last part of its file's name."""


@pytest.mark.parametrize("path", sorted((ROOT / "jobs/specs").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_spec_loads_and_reads_back_as_the_same(path: Path, tmp_path: Path) -> None:
    kind = OTHERS.get(path.stem.rpartition("-")[2], Spec)
    spec = load_as(kind, path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_spec(spec))
    assert load_as(kind, resolved) == spec


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"source": "m", "step": 8}}, ["model.step", "unknown key", "'steps'"]),
        ({"modle": {}}, ["modle", "unknown key", "'model'"]),
        ({"plan": {"per_class": "many"}}, ["plan.per_class", '"many"', "integer"]),
        ({"plan": {"per_class": True}}, ["plan.per_class", "true", "integer"]),
        ({"plan": {"per_class": 0}}, ["plan.per_class", "0 is refused", "greater than or equal to 1"]),
        ({"plan": {"balance_to": "most"}}, ["plan.balance_to", "'max'", "'median'"]),
        ({"plan": {"per_class": 2, "total": 3}}, ["plan", "exactly one of", "per_class and total"]),
        ({"plan": {"per_class": 2, "weights": {"a": 2}}}, ["plan", "weights", "total"]),
        ({"plan": {"balance_to": "max"}}, ["balance_to", "real images", "data"]),
        ({"classes": ["a", "a"]}, ["classes", "twice"]),
        ({"data": {"source": "digits"}}, ["either data"]),
        ({"classes": None, "data": {"source": "imagefolder"}}, ["data.path", "is required"]),
        (
            {"classes": None, "data": {"source": "digits", "splits": {"world": 0.9}}},
            ["data.splits", "must be 1, not 1.4"],
        ),
        ({"prompts": {"templates": ["a {colour} {class}"]}}, ["prompts", "colour"]),
        ({"prompts": {"attributes": {"size": ["big"]}}}, ["prompts", "no template", "size"]),
        ({"output": {"image": {"format": "gif"}}}, ["output.image.format", '"gif"', "'png'"]),
        ({"filters": [{"name": "blank", "minstd": 2}]}, ["filters.0", "minstd", "'min_std'"]),
        ({"cluster": {"min_actors": 4, "max_actors": 2}}, ["cluster", "max_actors 2", "min_actors 4"]),
        ({"prompts": {"classes": {"a": {"nmae": "b"}}}}, ["prompts.classes.a.nmae", "'name'"]),
        ({"name": None}, ["name", "null"]),
        ({"seed": 2**63}, ["seed", "less than"]),
    ],
)
def test_errors_name_the_mistake(tmp_path: Path, change: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(tmp_path, MINIMAL | change))
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "a: 2020-01-01\n"])
def test_a_spec_must_be_a_mapping_of_plain_values(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"spec\.yaml"):
        load_spec(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "plan: {per_class: 500}\nname: x\nplan: {per_class: 5}\n",
            "plan: is in one mapping twice, in lines 1 and 3",
        ),
        ("model:\n  steps: 1\n  'steps': 2\n", "steps: is in one mapping twice, in lines 2 and 3"),
        ("train:\n- {1: a,\n  '1': b}\n", "1: is in one mapping twice, in lines 2 and 3"),
        ("a: {yes: a, true: b}\n", "true: is in one mapping twice, in lines 1 and 1"),
        ("'a\tb': 1\n'a\tb': 2\n", r'"a\tb": is in one mapping twice, in lines 1 and 2'),
    ],
)
def test_a_duplicate_key_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == f"{path}: {message}; keep one"


def test_a_key_that_stands_twice_in_a_value_of_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^--set plan: its value: per_class: is in one mapping twice.* keep one$"):
        load_spec(write(tmp_path, MINIMAL), ["plan={per_class: 1, per_class: 2}"])


def test_merged_yaml_keys_may_be_overridden() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4, <<: *a}\n"
    assert _parse(text, "spec.yaml") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 2}}


def test_a_yaml_tag_builds_no_object(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(SpecError, match="not YAML"):
        load_spec(path)


def test_overrides_reach_any_depth(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    spec = load_spec(path, ["model.steps=8", "output.image.format=jpg", "plan.overrides={a: 7}", "classes=[a, c]"])
    assert (spec.model.steps, spec.output.image.format, spec.plan.overrides, spec.classes) == (
        8,
        "jpg",
        {"a": 7},
        ("a", "c"),
    )
    strategies = [{"name": "a"}, {"name": "b", "templates": ["{class}"]}]
    mixed = write(tmp_path, {**MINIMAL, "prompts": {"mix": strategies}})
    spec = load_spec(mixed, ["prompts.mix.1.templates.0=a {class}", "prompts.mix.0.share=2"])
    assert [(strategy.share, strategy.templates) for strategy in spec.prompts.mix] == [
        (2, ("a photo of a {class}",)),
        (1, ("a {class}",)),
    ]


@pytest.mark.parametrize(
    "override", ["model.steps", "=3", "model.source.x=1", "model.steps=[", "model.stepz=1", "classes.2=c"]
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(SpecError):
        load_spec(write(tmp_path, MINIMAL), [override])


def test_identity_leaves_out_what_changes_no_byte(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    first, other = load_spec(path), load_spec(path, ["cluster.min_actors=3", "sweep.seeds=5"])
    assert identity(first) == identity(other)
    changed = load_spec(path, ["model.steps=8", "cluster.cpus_per_actor=2"])
    assert differences(identity(first), identity(changed)) == ["model.steps: 20 -> 8", "cluster.cpus_per_actor: 1 -> 2"]
    assert json.dumps(identity(first))
