"""The examples in the README run unchanged."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.spec_file import load_spec
from jobs.__main__ import parser
from tests.engine.evaluation.sweep_runs import swept

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

__all__ = ["swept"]


def blocks(language: str) -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fences if name == language]


def test_the_yaml_is_a_spec(tmp_path: Path) -> None:
    whole, prompts, optimized = (yaml.safe_load(block) for block in blocks("yaml"))
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(whole))
    assert load_spec(path).prompts.classes["crane"].name == "crane, the bird"
    path.write_text(yaml.safe_dump(whole | prompts))
    assert [strategy.name for strategy in load_spec(path).prompts.strategies] == ["label", "attributes", "llm"]
    path.write_text(yaml.safe_dump(whole | optimized))
    assert load_spec(path).model.optimizations.compile == "default"


def test_the_recipes_are_all_that_are_shipped() -> None:
    listed = set(re.findall(r"^\| `([a-z0-9-]+\.yaml)` \|", README, re.MULTILINE))
    shipped = {path.name for path in (ROOT / "jobs/specs").glob("*.yaml")}
    helpers = {name for name in shipped if re.search(r"-(generator|finetune|prompts|captions)\.yaml$", name)}
    assert listed == shipped - helpers - {"smoke.yaml"}


def test_the_python_trains_from_a_run(swept: Any) -> None:
    (program,) = blocks("python")
    seen: list[Any] = []
    code = program.replace("runs/digits", str(swept.store.local)).replace("steps=1000", "steps=3")
    exec(compile(code, "README.md", "exec"), {"train_step": lambda images, labels: seen.append((images, labels))})
    assert [(images.shape, labels.shape) for images, labels in seen] == [((64, 3, 8, 8), (64,))] * 3


@pytest.mark.parametrize("line", re.findall(r"python -m jobs ([^#\n`]+)", README))
def test_the_commands_parse(line: str) -> None:
    parser().parse_args(line.split())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md"])
def test_every_path_in_backticks_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    paths = re.findall(r"`((?:engine|shards|jobs|tests|bench|docs)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_named_file_and_folder_exists() -> None:
    tree, top = blocks("")[-1], Path()
    places = re.findall(r"^( *)([a-z_]+(?:/|\.py|\.yaml))(?=\s)", tree, re.MULTILINE)
    assert len(places) > 20
    for indent, name in places:
        top = top if indent else ROOT / name
        assert (top / name if indent else top).exists(), name
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
