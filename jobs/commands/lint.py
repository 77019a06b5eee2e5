"""Looking at the prompts of a spec before GPUs are spent on them."""

import sys
from argparse import Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand, override_argument, spec_argument

if TYPE_CHECKING:
    from engine.prompts.prompt_lint import Meanings
    from engine.run.run_context import RunContext

_SHOWN = 20


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = "Look for prompts that are cut, repeated, ambiguous or of another class; exit code 1 if there are any."
    added = command("lint", lint, text, "lint jobs/specs/digits.yaml")
    spec_argument(added)
    override_argument(added)


def lint(arguments: Namespace) -> None:
    """Print every finding. Raise Mismatch if there is one."""
    from engine.config.spec_file import load_spec
    from engine.errors import DataError, Mismatch
    from engine.prompts.wordnet import WordNet
    from engine.run.run import plan_run

    recipe, meanings = plan_run(load_spec(arguments.spec, arguments.overrides)), None
    try:
        meanings = WordNet().likely
    except DataError as error:
        print(f"not checked: what class names mean ({error})", file=sys.stderr)
    findings = _find(recipe, meanings)
    for finding in findings:
        print(finding)
    if findings:
        raise Mismatch(f"{arguments.spec}: {len(findings)} findings in its prompts")
    print("no findings")


def warn(recipe: "RunContext") -> None:
    """Print findings as warnings before a run. Where WordNet is not installed, class names are not checked."""
    from engine.errors import DataError
    from engine.prompts.wordnet import WordNet

    meanings = None
    with suppress(DataError):
        meanings = WordNet().likely
    findings = _find(recipe, meanings)
    for finding in findings[:_SHOWN]:
        print(f"warning: {finding}", file=sys.stderr)
    if len(findings) > _SHOWN:
        print(f"warning: and {len(findings) - _SHOWN} more; `lint` shows all", file=sys.stderr)


def _find(recipe: "RunContext", meanings: "Meanings | None") -> list[str]:
    from engine.errors import ModelError
    from engine.models.tokenizer_limits import text_limits
    from engine.prompts.prompt_lint import lint as find

    if not recipe.spec.model.takes_prompts:
        return []
    limits = []
    try:
        limits = text_limits(recipe.spec.model)
    except ModelError as error:
        print(f"not checked: the length of prompts ({error})", file=sys.stderr)
    return find(recipe, limits, meanings)
