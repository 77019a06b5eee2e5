"""What the commands share: how one is added, and the arguments that several have."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

AddCommand = Callable[[str, Callable[[Namespace], None], str, str], ArgumentParser]
"""Adds a command: its name, what it runs, what it does in one sentence, and an example without `python -m jobs`."""


def spec_arguments(added: ArgumentParser) -> None:
    """SPEC, --out and --set."""
    added.add_argument("spec", metavar="SPEC", type=Path, help="YAML file, like jobs/specs/digits.yaml")
    added.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the result")
    override_argument(added)


def override_argument(added: ArgumentParser) -> None:
    """--set."""
    added.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override a key of the spec, like model.steps=8; may be given often",
    )


def run_argument(added: ArgumentParser) -> None:
    """RUN."""
    added.add_argument("run_folder", metavar="RUN", type=Path, help="the --out of a generate command")
