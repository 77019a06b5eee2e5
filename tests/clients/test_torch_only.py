"""The training example of the README runs with only shardmill and torch installed."""

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from engine.evaluation.sweep import Sweep
from tests.conftest import ROOT, outside_environment
from tests.engine.evaluation.sweep_runs import swept

__all__ = ["swept"]

ABSENT = (
    "torchvision",
    "ray",
    "diffusers",
    "transformers",
    "pydantic",
    "yaml",
    "PIL",
    "webdataset",
    "datasets",
    "timm",
)

# What a trainer brings along: a model, and `train_step`. The README's block runs between the two parts.
BEFORE = """
import torch

torch.manual_seed(0)
layers = torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
losses = []


def train_step(images, labels):
    assert images.dtype == torch.uint8 and images.shape == (64, 3, 8, 8) and labels.dtype == torch.int64
    loss = torch.nn.functional.cross_entropy(model(images.float() / 255), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())


"""
AFTER = """
assert len(losses) == 1000
first, last = (sum(some) / 50 for some in (losses[:50], losses[-50:]))
assert last < 0.5 * first, (first, last)
images, labels = (torch.from_numpy(getattr(next(validation.batches(200)), name)) for name in ("image", "label"))
right = (model(images.permute(0, 3, 1, 2).float() / 255).argmax(1) == labels).float().mean().item()
print(f"loss {first:.2f} to {last:.2f}, {right:.0%} of validation")
assert right > 0.5, "the labels are those of the images"
"""


def closure(roots: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return the installed distributions that the requirements need, by name, without extras that none requests."""
    distributions: dict[str, Distribution] = {}
    visited: set[tuple[str, str]] = set()
    pending = [(root.name, extra) for root in roots for extra in ("", *root.extras)]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in visited:
            continue
        visited.add((name, extra))
        distributions[name] = distribution(name)
        for need in map(Requirement, distributions[name].requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                pending += [(need.name, inner) for inner in ("", *need.extras)]
    return distributions


def link(installed: Distribution, site: Path) -> None:
    """Link the files of an installed distribution into another site: whole packages if it owns them alone."""
    base = Path(str(installed.locate_file("")))
    for file in installed.files or ():
        top = file.parts[0]
        if top == ".." or "__pycache__" in file.parts:
            continue
        shared = file.parts[:2] if top == "nvidia" and len(file.parts) > 2 else (top,)  # a folder of many distributions
        place = site.joinpath(*shared)
        if not place.is_symlink() and not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(base.joinpath(*shared))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the checkout: a build leaves files behind."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("engine", "shards", "jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", root, source], check=True)
    (built,) = root.glob("shardmill-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment of the wheel, what it asks for, torch and what that asks for."""
    home = tmp_path_factory.mktemp("torch-only") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True, env=outside_environment()
    )
    (info,) = home.glob("lib/*/site-packages/shardmill-*.dist-info")
    needs = map(Requirement, PathDistribution(info).requires or ())
    base = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    for installed in closure([*base, Requirement("torch")]).values():
        link(installed, info.parent)
    return python


def run(python: Path, code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, "-I", "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_nothing_else_is_there(python: Path, tmp_path: Path) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {ABSENT} if find_spec(name)])"
    assert run(python, code, tmp_path).stdout == "[]\n"
    code = "import shards, torch; print(shards.__file__, torch.__file__)"
    assert all(str(python.parents[1]) in place for place in run(python, code, tmp_path).stdout.split())


def test_the_readme_trains(python: Path, swept: Sweep, tmp_path: Path) -> None:
    section = re.search(
        r"### Train from the shards\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert section
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(swept.store.local)
    completed = run(python, BEFORE + section[1] + AFTER, tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert re.fullmatch(r"loss .* of validation\n", completed.stdout)


def test_the_commands_of_shards_work(python: Path, swept: Sweep) -> None:
    """Only the commands that need no extra run here."""
    splits = [f"real/{split}" for split in ("train", "validation")]
    completed = subprocess.run(
        [python, "-I", "-m", "jobs", "overlap", *splits],
        cwd=swept.store.local,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert "equal bytes: 0" in completed.stdout
