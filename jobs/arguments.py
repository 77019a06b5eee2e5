"""What the commands share: how one is added, and the arguments that several have."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

AddCommand = Callable[[str, Callable[[Namespace], None], str, str], ArgumentParser]
"""Adds a command: its name, what it runs, what it does in one sentence, and an example without `python -m jobs`."""


def spec_arguments(added: ArgumentParser) -> None:
    """SPEC, --out as a local folder, and --set."""
    added.add_argument("spec", metavar="SPEC", help="YAML file, like jobs/specs/digits.yaml")
    added.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the result")
    override_argument(added)


def spec_and_run_arguments(added: ArgumentParser) -> None:
    """SPEC, --out as the place of a run, and --set."""
    added.add_argument("spec", metavar="SPEC", help="YAML file, like jobs/specs/digits.yaml")
    added.add_argument(
        "--out", metavar="RUN", required=True, help="folder of the result, or a URL like s3://bucket/run"
    )
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


def log_argument(added: ArgumentParser) -> None:
    """--log-format."""
    added.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: an object a line, for programs"
    )


def run_argument(added: ArgumentParser) -> None:
    """RUN."""
    added.add_argument("place", metavar="RUN", help="the --out of a generate command: a folder or a URL")
