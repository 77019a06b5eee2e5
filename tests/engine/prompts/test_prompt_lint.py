"""Prompts are looked at before GPUs are spent: every kind of finding, and none where nothing is wrong."""

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


def findings(folder: Path, prompts: dict[str, Any], classes: Sequence[str] = ("cat", "dog"), **given: Any) -> list[str]:
    spec = write_spec(
        folder,
        {"name": "x", "classes": list(classes), "plan": {"per_class": 50}, "model": {"source": "embedded/digits"}},
        {"prompts": prompts},
    )
    return lint_prompts(plan_run(load_spec(spec)).prompts, **given)


VARIED = {
    "templates": ["a {size} {class} {place}"],
    "attributes": {"size": list("abcdefgh"), "place": list("stuvwxyz")},
}


def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path) -> None:
    limit = TextLimit("tokenizer", 10, lambda text: len(text.split()))
    assert findings(tmp_path, VARIED, limits=[limit]) == []


def test_repeated_prompts(tmp_path: Path) -> None:
    found = findings(tmp_path, {"templates": ["a photo of a {class}"]})
    assert found == [
        "cat, dog: 1 distinct prompts among 50 of strategy 'templates'; only seeds vary the others: add templates, "
        "attributes or a bank"
    ]


def test_prompts_that_are_cut(tmp_path: Path) -> None:
    limit = TextLimit("tokenizer", 3, lambda text: len(text.split()))
    found = findings(tmp_path, VARIED, limits=[limit])
    assert len(found) == 2
    assert "cat: 50 of 51 prompts are cut by the tokenizer, which reads 3 tokens; the longest has 4: 'a " in found[0]


def test_classes_that_are_told_alike(tmp_path: Path) -> None:
    told = {**VARIED, "classes": {"dog": {"name": "cats"}}}
    found = findings(tmp_path, told)
    assert len(found) == 1
    assert found[0].startswith("cat and dog: ")
    assert "prompts are nearly equal, like 'a " in found[0]
    forgotten = findings(tmp_path, {"templates": [f"a photo {n}" for n in range(40)]})
    assert [one.partition(":")[0] for one in forgotten] == ["cat and dog"]


def test_prompts_that_name_another_class(tmp_path: Path) -> None:
    names = ["a cat chasing dogs", "a black cat", "one cat", "the cat", "cat"]
    rows = [BankRow("cat", text, "", "m", "i", 0) for text in names]
    rows += [BankRow("hot dog", f"hot dog {n}", "", "m", "i", 0) for n in range(50)]
    rows += [BankRow("dog", f"dog {n}", "", "m", "i", 0) for n in range(50)]
    write_bank(tmp_path / "bank.parquet", rows)
    found = findings(tmp_path, {"bank": str(tmp_path / "bank.parquet")}, ("cat", "hot dog", "dog"))
    named = [one for one in found if "prompts name" in one]
    assert named == ["cat: 10 of 50 prompts name 'dog', like 'a cat chasing dogs'"]


@dataclass(frozen=True)
class Gloss:
    gloss: str


def test_names_that_mean_several_things(tmp_path: Path) -> None:
    known = {
        "crane": [Gloss("lifts and moves heavy objects"), Gloss("large long-necked wading bird")],
        "cat": [Gloss("feline")],
    }
    meanings = known.__getitem__
    found = findings(tmp_path, VARIED, ("cat", "crane"), meanings=meanings)
    assert len(found) == 1
    assert found[0].startswith("crane: means several things: (1) lifts and moves heavy objects; (2) large long-necked")
    assert "--set 'prompts.classes.crane.name=crane (lifts and moves heavy objects)'" in found[0]
    fixed = {**VARIED, "classes": {"crane": {"name": "crane (large long-necked wading bird)"}}}
    assert findings(tmp_path, fixed, ("cat", "crane"), meanings=meanings) == []


def test_the_command_and_the_real_tokenizer(jobs: Jobs, tmp_path: Path) -> None:
    clean = jobs("lint", ROOT / "jobs/specs/digits.yaml")
    assert clean.returncode == 0, text_of(clean)
    assert clean.stdout.strip().endswith("no findings")
    long = "handwritten digit " * 12 + "{class} {weight}"
    found = jobs("lint", ROOT / "jobs/specs/smoke.yaml", "--set", f"prompts.templates=['{long}']")
    assert found.returncode == 1
    assert "prompts are cut by the tokenizer, which reads 24 tokens" in found.stdout
    assert "Traceback" not in text_of(found)
