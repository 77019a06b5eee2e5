"""Tests of every kind of finding about prompts, and of prompts without any."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.spec_file import load_spec
from engine.models.tokenizer_limits import TextLimit
from engine.prompts.prompt_bank import BankRow, write_bank
from engine.prompts.prompt_lint import lint_prompts
from engine.run.run import plan_run
from tests.conftest import ROOT, Jobs, text_of, write_spec


def lint(folder: Path, prompts: dict[str, Any], classes: Sequence[str] = ("cat", "dog"), **options: Any) -> list[str]:
    spec = write_spec(
        folder,
        {"name": "x", "classes": list(classes), "plan": {"per_class": 50}, "model": {"source": "embedded/digits"}},
        {"prompts": prompts},
    )
    return lint_prompts(plan_run(load_spec(spec)).prompts, **options)


VARIED = {
    "templates": ["a {size} {class} {place}"],
    "attributes": {"size": list("abcdefgh"), "place": list("stuvwxyz")},
}


def test_good_prompts_have_no_finding(tmp_path: Path) -> None:
    limit = TextLimit("tokenizer", 10, lambda text: len(text.split()))
    assert lint(tmp_path, VARIED, limits=[limit]) == []


def test_repeated_prompts(tmp_path: Path) -> None:
    findings = lint(tmp_path, {"templates": ["a photo of a {class}"]})
    assert findings == [
        "cat, dog: 1 distinct prompts among 50 of strategy 'templates'; only seeds vary the others: add templates, "
        "attributes or a bank"
    ]


def test_prompts_longer_than_the_limit(tmp_path: Path) -> None:
    limit = TextLimit("tokenizer", 3, lambda text: len(text.split()))
    findings = lint(tmp_path, VARIED, limits=[limit])
    assert len(findings) == 2
    assert "cat: 50 of 51 prompts are cut by the tokenizer, which reads 3 tokens; the longest has 4: 'a " in findings[0]


def test_classes_with_nearly_equal_prompts(tmp_path: Path) -> None:
    findings = lint(tmp_path, {**VARIED, "classes": {"dog": {"name": "cats"}}})
    assert len(findings) == 1
    assert findings[0].startswith("cat and dog: ")
    assert "prompts are nearly equal, like 'a " in findings[0]
    without_class = lint(tmp_path, {"templates": [f"a photo {n}" for n in range(40)]})
    assert [finding.partition(":")[0] for finding in without_class] == ["cat and dog"]


def test_prompts_that_name_another_class(tmp_path: Path) -> None:
    names = ["a cat chasing dogs", "a black cat", "one cat", "the cat", "cat"]
    rows = [BankRow("cat", text, "", "m", "i", 0) for text in names]
    rows += [BankRow("hot dog", f"hot dog {n}", "", "m", "i", 0) for n in range(50)]
    rows += [BankRow("dog", f"dog {n}", "", "m", "i", 0) for n in range(50)]
    write_bank(tmp_path / "bank.parquet", rows)
    findings = lint(tmp_path, {"bank": str(tmp_path / "bank.parquet")}, ("cat", "hot dog", "dog"))
    assert [finding for finding in findings if "prompts name" in finding] == [
        "cat: 10 of 50 prompts name 'dog', like 'a cat chasing dogs'"
    ]


@dataclass(frozen=True)
class Gloss:
    gloss: str


def test_ambiguous_names(tmp_path: Path) -> None:
    known = {
        "crane": [Gloss("lifts and moves heavy objects"), Gloss("large long-necked wading bird")],
        "cat": [Gloss("feline")],
    }
    meanings = known.__getitem__
    findings = lint(tmp_path, VARIED, ("cat", "crane"), meanings=meanings)
    assert len(findings) == 1
    assert findings[0].startswith(
        "crane: means several things: (1) lifts and moves heavy objects; (2) large long-necked"
    )
    assert "--set 'prompts.classes.crane.name=crane (lifts and moves heavy objects)'" in findings[0]
    fixed = {**VARIED, "classes": {"crane": {"name": "crane (large long-necked wading bird)"}}}
    assert lint(tmp_path, fixed, ("cat", "crane"), meanings=meanings) == []


def test_the_command_and_the_real_tokenizer(jobs: Jobs, tmp_path: Path) -> None:
    result = jobs("lint", ROOT / "jobs/specs/digits.yaml")
    assert result.returncode == 0, text_of(result)
    assert result.stdout.strip().endswith("no findings")
    long = "handwritten digit " * 12 + "{class} {weight}"
    result = jobs("lint", ROOT / "jobs/specs/smoke.yaml", "--set", f"prompts.templates=['{long}']")
    assert result.returncode == 1
    assert "prompts are cut by the tokenizer, which reads 24 tokens" in result.stdout
    assert "Traceback" not in text_of(result)
