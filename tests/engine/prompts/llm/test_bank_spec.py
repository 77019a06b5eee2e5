"""Tests of the specs of prompt banks, and of the shipped ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.spec_file import load_as
from engine.errors import RunMismatch, SpecError
from engine.prompts.llm.bank_jobs import write_prompts
from engine.prompts.llm.bank_spec import BankSpec, CaptionBankSpec, PromptBankSpec
from tests.conftest import ROOT, write_spec
from tests.engine.prompts.llm.conftest import MakeSpec, silent

MODEL = {"backend": "ollama", "name": "m"}


@pytest.mark.parametrize(("name", "kind"), [("cifar10-prompts", PromptBankSpec), ("cifar10-captions", CaptionBankSpec)])
def test_the_shipped_specs(name: str, kind: type[BankSpec]) -> None:
    spec = load_as(kind, ROOT / "jobs" / "specs" / f"{name}.yaml")
    assert "car" in spec.class_names("automobile")
    assert spec.class_names("cat") == ("cat", "cat")


def test_the_models_in_comments_of_a_shipped_spec() -> None:
    path = ROOT / "jobs" / "specs" / "cifar10-prompts.yaml"
    lines = [line.removeprefix("#") for line in path.read_text().splitlines() if line.startswith("#   model:")]
    content = yaml.safe_load(path.read_text())
    for line in lines:
        PromptBankSpec.model_validate_json(json.dumps(content | yaml.safe_load(line)))
    assert len(lines) == 3


def test_the_default_is_a_local_model() -> None:
    spec = PromptBankSpec(name="x", classes=("cat",))
    assert (spec.model.backend, spec.model.name) == ("transformers", "google/gemma-2b-it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "give either data, which has its classes, or classes"),
        ({"classes": ["cat", "cat"]}, "classes has a name twice"),
        ({"words": {"cow": {"name": "cattle"}}}, "words has 'cow', which is no class: cat, dog"),
        ({"instruction": "write"}, r"instruction 'write' lacks {class}"),
        ({"instruction": "{class} {colour}"}, r"instruction uses {colour}; known are {class}, {count}"),
        ({"model": MODEL | {"api_key": "x"}}, "model.api_key: unknown key; did you mean 'api_key_env'"),
        ({"model": MODEL | {"backend": "gpt"}}, "gpt"),
        ({"model": MODEL | {"url": "ftp://host"}}, "model.url: must be like http"),
        ({"model": MODEL | {"url": "http://host/v1?key=1"}}, "model.url: must be like http"),
        ({"patience": 0.5}, "patience: 0.5 is refused"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {"name": "x", "classes": ["cat", "dog"], "model": MODEL} | change
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(SpecError) as caught:
        load_as(PromptBankSpec, path)
    assert message in str(caught.value)


def test_a_missing_placeholder_is_named(tmp_path: Path) -> None:
    path = write_spec(tmp_path, {"name": "x", "data": {"source": "digits"}, "model": MODEL, "prefix": "{caption}"})
    with pytest.raises(SpecError, match=r"prefix '{caption}' lacks {class}"):
        load_as(CaptionBankSpec, path)


def test_connection_settings_keep_the_identity(make_spec: MakeSpec) -> None:
    spec = make_spec(MODEL, words={"cat": {"aliases": ["kitten"]}})
    other = make_spec(
        MODEL | {"url": "http://other:1", "parallel": 9, "attempts": 2, "api_key_env": "K", "timeout_s": 1.0},
        per_class=7, patience=9.0, name="other",
    )  # fmt: skip
    assert spec.identity() == other.identity()
    for change in ({"seed": 6}, {"instruction": "{class}"}, {"per_request": 5}, {"words": {"cat": {"name": "tomcat"}}}):
        assert make_spec(MODEL, **change).identity() != spec.identity()
    for change in ({"name": "n"}, {"temperature": 0.5}, {"max_tokens": 9}, {"backend": "openai"}):
        assert make_spec(MODEL | change).identity() != spec.identity()


def test_a_bank_without_responses_is_not_replaced(make_spec: MakeSpec, tmp_path: Path) -> None:
    out = tmp_path / "bank.parquet"
    out.write_bytes(b"precious")
    with pytest.raises(RunMismatch, match="choose another --out"):
        write_prompts(make_spec(MODEL), out, silent)
    assert out.read_bytes() == b"precious"
