"""What the commands share: how one is added, and the arguments that several have."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_ROOT = Path(__file__).parents[1]
"""The repository, or site-packages where a wheel is installed."""

AddCommand = Callable[[str, Callable[[Namespace], None], str, str], ArgumentParser]
"""Adds a command: its name, what it runs, what it does in one sentence, and an example without `python -m jobs`."""


def spec_argument(added: ArgumentParser) -> None:
    """Add SPEC."""
    text = "YAML file, or the name of a shipped spec, like digits for jobs/specs/digits.yaml"
    added.add_argument("spec", metavar="SPEC", type=_find_spec, help=text)


def spec_arguments(added: ArgumentParser) -> None:
    """SPEC, --out as a local folder, and --set."""
    spec_argument(added)
    added.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the result")
    override_argument(added)


def spec_and_run_arguments(added: ArgumentParser) -> None:
    """SPEC, --out as the place of a run, and --set."""
    spec_argument(added)
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


def _find_spec(text: str) -> str:
    """Return the path of the shipped spec of this path or name, unless the working directory has such a file."""
    shipped = (_ROOT / text, _ROOT / "jobs/specs" / f"{text}.yaml")
    with suppress(OSError):  # reading the spec reports it
        return next((str(path) for path in (Path(text), *shipped) if path.is_file()), text)
    return text
