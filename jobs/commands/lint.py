"""The command `lint`."""

import sys
from argparse import Namespace

from engine.errors import Mismatch
from jobs.arguments import AddCommand, override_argument, spec_argument


def register(command: AddCommand) -> None:
    """Add the command."""
    text = "Look for prompts that are cut, repeated, ambiguous or of another class; exit code 1 if there are any."
    added = command("lint", lint, text, "lint jobs/specs/digits.yaml")
    spec_argument(added)
    override_argument(added)


def lint(arguments: Namespace) -> None:
    """Print every finding. Raise Mismatch if there is one."""
    from engine.config.spec_file import load_spec
    from engine.run.run import plan_run
    from engine.workflows.prompt_check import check_prompts

    check = check_prompts(plan_run(load_spec(arguments.spec, arguments.overrides)))
    for reason in check.unchecked:
        print(f"not checked: {reason}", file=sys.stderr)
    for finding in check.findings:
        print(finding)
    if check.findings:
        raise Mismatch(f"{arguments.spec}: {len(check.findings)} findings in its prompts")
    print("no findings")
