"""Looking at the prompts of a spec before GPUs are spent on them."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand, override_argument

if TYPE_CHECKING:
    from engine.run.run_context import RunContext

_SHOWN = 20


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = "Look for prompts that are cut, repeated, ambiguous or of another class; exit code 1 if there are any."
    added = command("lint", lint, text, "lint jobs/specs/digits.yaml")
    added.add_argument("spec", metavar="SPEC", type=Path, help="YAML file, like jobs/specs/digits.yaml")
    override_argument(added)


def lint(arguments: Namespace) -> None:
    """Print every finding; an error if there is one."""
    from engine.config.spec_file import load_spec
    from engine.errors import Mismatch
    from engine.run.run import plan_run

    findings = find(plan_run(load_spec(arguments.spec, arguments.overrides)))
    for finding in findings:
        print(finding)
    if findings:
        raise Mismatch(f"{arguments.spec}: {len(findings)} findings in its prompts")
    print("no findings")


def warn(recipe: "RunContext") -> None:
    """Say what a person should know before a run, and let it run."""
    findings = find(recipe)
    for finding in findings[:_SHOWN]:
        print(f"warning: {finding}", file=sys.stderr)
    if len(findings) > _SHOWN:
        print(f"warning: and {len(findings) - _SHOWN} more; `lint` shows all", file=sys.stderr)


def find(recipe: "RunContext") -> list[str]:
    """All findings; says on stderr what cannot be looked at on this machine."""
    from engine.errors import DataError, ModelError
    from engine.models.tokenizer_limits import text_limits
    from engine.prompts.prompt_lint import lint as look
    from engine.prompts.wordnet import WordNet

    if not recipe.spec.model.takes_prompts:
        return []
    limits, meanings = [], None
    try:
        limits = text_limits(recipe.spec.model)
    except ModelError as error:
        print(f"not looked at: the length of prompts ({error})", file=sys.stderr)
    try:
        meanings = WordNet().likely
    except DataError as error:
        print(f"not looked at: what class names mean ({error})", file=sys.stderr)
    return look(recipe, limits, meanings)
