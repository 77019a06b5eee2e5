"""The command line answers at once: asking for help loads nothing heavy."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = ("torch", "ray", "diffusers", "transformers", "httpx2", "pydantic", "sklearn", "matplotlib")
COMMANDS = (
    "generate",
    "sweep",
    "train",
    "experiment",
    "measure",
    "train-generator",
    "finetune",
    "status",
    "watch",
    "verify",
    "replay",
    "report",
    "export",
    "import",
    "inspect",
    "reshard",
    "overlap",
    "mix",
    "attributes",
    "prompts",
    "captions",
    "lint",
    "diversity",
)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_imports_nothing_heavy(command: str | None) -> None:
    arguments = [sys.executable, "-X", "importtime", "-m", "jobs", *([command] if command else []), "--help"]
    completed = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in completed.stderr.splitlines()}
    assert "argparse" in loaded, "the list is one of imports"
    assert loaded.isdisjoint(HEAVY)
    assert completed.stdout.startswith("usage: python -m jobs")
    if command is None:
        assert all(f"\n    {name}" in completed.stdout for name in COMMANDS)


def test_unknown_command_is_a_usage_error() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "jobs", "generat"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 2
    assert "invalid choice: 'generat'" in completed.stderr
