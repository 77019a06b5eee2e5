"""Who may import whom, read from the code; and what an import really loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("engine", "shards", "jobs", "bench", "tests")


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no file in {package}"
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("shards", {"engine", "jobs", "bench", "tests"}),
        ("engine", {"jobs", "bench", "tests"}),
        ("jobs", {"bench", "tests"}),
    ],
)
def test_packages_import_downwards_only(package: str, forbidden: set[str]) -> None:
    for path in files(package):
        assert not roots(path) & forbidden, path


def test_only_the_cluster_folder_imports_ray() -> None:
    users = {
        path.relative_to(ROOT).parts[:2] for package in OURS[:3] for path in files(package) if "ray" in roots(path)
    }
    assert users == {("engine", "cluster")}


def test_only_the_generators_import_diffusers() -> None:
    users = {
        path.relative_to(ROOT).parts[:2]
        for package in OURS[:3]
        for path in files(package)
        if "diffusers" in roots(path)
    }
    assert users == {("engine", "generators")}


def test_only_the_loader_imports_torch_in_shards() -> None:
    assert {path.name for path in files("shards") if "torch" in roots(path)} == {"loader.py"}


HEAVY = ("torch", "ray", "diffusers", "transformers", "httpx2", "pydantic", "sklearn", "matplotlib")


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import shards", set()),
        ("import jobs.__main__ as m; m.parser()", set()),
        ("from engine.config.spec_file import load_spec", {"pydantic"}),
        ("from engine.run.plan import make_plan; from engine.run.run import load_run", {"pydantic"}),
        ("from shards.loader import ShardDataset", {"torch"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, allowed: set[str]) -> None:
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) <= allowed
