"""The wheel, installed by pip into an empty virtual environment, works from an empty folder."""

import subprocess
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from sys import executable

import pytest

from tests.conftest import ROOT, outside_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = [
    *("--set", "plan.balance_to=12", "--set", "model.steps=2", "--set", "output.samples_per_shard=10"),
    *("--set", "sweep.seeds=1", "--set", "sweep.alphas=[0, 0.5]", "--set", "sweep.arms={}", "--set", "train.steps=5"),
]


def run(folder: Path, *command: object) -> str:
    """Run a command in a folder and return its output."""
    line = [str(word) for word in command]
    done = subprocess.run(line, cwd=folder, env=outside_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist and a wheel from it, and return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    run(folder, executable, "-m", "build", ROOT, "--outdir", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture
def environment() -> Iterator[Path]:
    """Return `bin` of a new virtual environment, and remove it afterwards: with torch it takes gigabytes."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        yield Path(folder, "bin")


def files(*folders: str) -> set[str]:
    """Return the files of folders of the repository."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return {str(path.relative_to(ROOT)) for path in paths if path.is_file() and path.suffix != ".pyc"}


def test_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == files("engine", "shards", "jobs")
    assert {"engine/py.typed", "shards/py.typed", "jobs/specs/digits.yaml"} <= names


def test_sdist_holds_tests_docs_and_benchmarks(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files("tests", "bench", "docs", "jobs") | {"Makefile", "constraints.txt", "cluster.yaml"} <= names


def test_base_wheel_reads_shards_without_the_extras(
    wheel: Path, environment: Path, tiny_run: Path, tmp_path: Path
) -> None:
    run(tmp_path, environment / "pip", "install", "--constraint", ROOT / "constraints.txt", wheel)
    installed = run(tmp_path, environment / "pip", "list", "--format=freeze").splitlines()
    assert not {line.partition("==")[0] for line in installed} & {"torch", "ray", "pydantic", "diffusers"}
    run(tmp_path, environment / "python", "-c", "import shards; shards.MixedStream")
    assert "usage: " in run(tmp_path, environment / "shardmill", "inspect", "--help")
    assert "sea lion" in run(tmp_path, environment / "shardmill", "inspect", tiny_run)


def test_wheel_runs_the_demo(wheel: Path, environment: Path, tmp_path: Path) -> None:
    requirement = f"{wheel}[generate,train]"
    run(tmp_path, environment / "pip", "install", "--constraint", ROOT / "constraints.txt", requirement)
    run(tmp_path, environment / "shardmill", "generate", "digits", "--out", "demo", *SMALL)
    answer = run(tmp_path, environment / "shardmill", "sweep", "jobs/specs/digits.yaml", "--out", "demo", *SMALL)
    assert "on real validation" in answer
    assert (tmp_path / "demo" / "report.html").is_file()
