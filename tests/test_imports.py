"""The order of the rooms: who may import whom, read from the code; and what an import really loads."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = (
    "shards",  # its modules without a folder: errors, samples, codec, tar format, stats
    "shards.storage",
    "shards.reading",
    "shards.writing",
    "shards.mixing",
    "shards.tools",
    "shards.loader",
    "shards.__init__",  # what trainers import
    "engine",  # its modules without a folder: errors, seeds, shared types, plug-ins
    "engine.config",
    "engine.models",
    "engine.data",
    "engine.prompts",
    "engine.generators",
    "engine.filters",
    "engine.run",
    "engine.worker",
    "engine.monitoring",
    "engine.training",
    "engine.evaluation",
    "engine.report",
    "engine.export",
    "engine.cluster",
    "engine.workflows",
    "jobs",
)
"""A module imports from its own room and from the rooms before it."""

HEAVY = {
    # Slow to import, or part of an extra that some installations lack.
    "accelerate", "cv2", "diffusers", "fsspec", "httpx2", "huggingface_hub", "ijson", "jinja2", "matplotlib", "numpy",
    "peft", "PIL", "pyarrow", "pydantic", "ray", "rich", "s3fs", "safetensors", "simplejpeg", "sklearn", "tensorboardX",
    "torch", "torchao", "torchvision", "transformers", "xformers", "yaml",
}  # fmt: skip
"""The only packages that may be imported inside a function, as may modules of ours that import one at their top."""

ONLY = {
    "ray": ("engine.cluster",),
    "diffusers": ("engine.generators", "engine.training"),
}
"""Packages that only these rooms import."""


@dataclass(frozen=True)
class Import:
    """An import statement. late: it stands inside a function."""

    module: str
    target: str
    line: int
    late: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Return every module of the product by its dotted name."""
    paths = [path for top in ("shards", "engine", "jobs") for path in sorted((ROOT / top).rglob("*.py"))]
    assert paths
    return {dotted(path): path for path in paths}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(module: str) -> tuple[Import, ...]:
    """Return all imports of a module: at its top, inside functions and under TYPE_CHECKING."""
    tree = ast.parse(modules()[module].read_text())
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, FUNCTIONS) for inner in ast.walk(node)}
    return tuple(
        Import(module, target, node.lineno, id(node) in late) for node in ast.walk(tree) for target in targets(node)
    )


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def targets(node: ast.AST) -> Iterator[str]:
    """Return the modules of this project and the packages of others that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in modules() else node.module


def all_imports() -> Iterator[Import]:
    return (edge for module in modules() for edge in imports(module))


def room(module: str) -> str:
    """Return the room of one of our modules: the longest name in ROOMS that it begins with."""
    if module == "shards":
        return "shards.__init__"
    return max((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), key=len)


def ours(module: str) -> bool:
    return module.partition(".")[0] in ("shards", "engine", "jobs", "bench", "tests")


def package(module: str) -> str:
    return module.partition(".")[0]


@cache
def loads_heavy(module: str) -> bool:
    """Return whether importing a module imports a heavy package."""
    early = [edge.target for edge in imports(module) if not edge.late]
    return any(loads_heavy(target) if ours(target) else package(target) in HEAVY for target in early)


def test_every_import_follows_the_order_of_the_rooms() -> None:
    order = {name: place for place, name in enumerate(ROOMS)}
    wrong = [
        str(edge)
        for edge in all_imports()
        if ours(edge.target) and (edge.target not in modules() or order[room(edge.target)] > order[room(edge.module)])
    ]
    assert not wrong


def test_every_folder_is_a_room() -> None:
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts[:2]) for path in modules().values() if path.parts[-3] != "jobs"
    }
    assert folders - {"jobs.commands"} <= set(ROOMS), "add the folder to ROOMS, where the order says who may use it"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for edge in imports(module):
                if edge.target in modules() and edge.target != module and not package_of(edge.target, module):
                    visit(edge.target, (*path, module))
            done.add(module)

    def package_of(target: str, module: str) -> bool:
        """A package's __init__ runs before its modules, so importing it from them is no circle of files."""
        return module.startswith(f"{target}.")

    for module in modules():
        visit(module, ())


def test_only_heavy_packages_are_imported_late() -> None:
    wrong = [
        str(edge)
        for edge in all_imports()
        if edge.late and not (loads_heavy(edge.target) if ours(edge.target) else package(edge.target) in HEAVY)
    ]
    assert not wrong


def test_heavy_packages_stay_in_their_rooms() -> None:
    wrong = [
        str(edge)
        for edge in all_imports()
        if room(edge.module) not in ONLY.get(package(edge.target), (room(edge.module),))
    ]
    assert not wrong
    assert {
        edge.module for edge in all_imports() if package(edge.target) == "torch" and edge.module.startswith("shards")
    } == {"shards.loader"}


def test_files_and_classes_have_unique_names() -> None:
    names = Counter(path.name for path in modules().values() if path.name not in ("__init__.py", "errors.py"))
    classes = Counter(
        node.name
        for path in modules().values()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert not [name for name, count in (names + classes).items() if count > 1]


LATE = ("torch", "ray", "diffusers", "transformers", "httpx2", "pydantic", "sklearn", "matplotlib")


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import shards", set()),
        ("import jobs.__main__ as m; m.parser()", set()),
        ("from engine.config.spec_file import load_spec; load_spec('jobs/specs/digits.yaml')", {"pydantic"}),
        ("from engine.run.plan import make_plan; from engine.run.run import load_run", {"pydantic"}),
        ("from shards.loader import ShardDataset", {"torch"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, allowed: set[str]) -> None:
    probe = f"{code}\nimport sys\nprint(*[name for name in {LATE!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) <= allowed
