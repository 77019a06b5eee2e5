"""Plug-ins of another distribution are found by their entry points, and each is used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, command, write_spec

EXAMPLE = Path(__file__).parent / "example"
SPEC = {
    "name": "plugins",
    "data": {"source": "squares", "splits": {"world": 0.5, "train": 0.2, "validation": 0.2, "test": 0.1}},
    "plan": {"per_class": 12, "max_attempts": 8},
    "model": {"kind": "stripes", "batch_size": 4},
    "filters": [{"name": "dark"}, {"name": "blank"}],
    "output": {"samples_per_shard": 12},
    "cluster": {"gpus_per_actor": 0},
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the example distribution is installed."""
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "example"
    source.mkdir()
    for path in (path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml")):
        (source / path.relative_to(EXAMPLE)).parent.mkdir(exist_ok=True)
        (source / path.relative_to(EXAMPLE)).write_bytes(path.read_bytes())
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*install, site, source], check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}


def test_a_run_uses_plugins_of_another_distribution(environment: dict[str, str], tmp_path: Path) -> None:
    def jobs(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(*arguments), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
        )

    spec, run = write_spec(tmp_path, SPEC), tmp_path / "run"
    completed = jobs("generate", spec, "--out", run)
    assert completed.returncode == 0, completed.stderr
    rows = [row for path in sorted((run / "shards").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert {row["class_name"] for row in rows} == {"small", "large"}, "the source's classes"
    assert {row["pipeline"] for row in rows} == {"Stripes"}
    assert min(row["score_mean"] for row in rows) >= 150
    assert any(row["attempt"] for row in rows), "the filter rejected some images"
    measured = jobs("measure", run)
    assert measured.returncode == 0, measured.stderr
    assert "mean gap" in measured.stdout
    assert all(row["values"]["mean_gap"] is not None for row in json.loads((run / "measures.json").read_text())["rows"])


def test_without_the_distribution_its_names_are_unknown(tmp_path: Path) -> None:
    refused = subprocess.run(
        command("generate", write_spec(tmp_path, SPEC), "--out", tmp_path / "run"),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "data.source: \"squares\" is refused; it is one of 'cifar10', 'digits'" in refused.stderr
    assert "model.kind: \"stripes\" is refused; it is one of 'class-conditional'" in refused.stderr
    assert "filters.0.name: \"dark\" is refused; it is one of 'blank'" in refused.stderr
