"""The command `experiment`: from a spec to the answer."""

from argparse import Namespace

from jobs.arguments import AddCommand, log_argument, spec_and_run_arguments
from jobs.commands.measure import measure
from jobs.commands.runs import generate
from jobs.commands.train import sweep

_MOST = 1000
"""Images of each class and strategy that are measured."""


def register(command: AddCommand) -> None:
    """Add the command."""
    added = command(
        "experiment",
        experiment,
        "Generate, measure and sweep, one after another; the same command again resumes.",
        "experiment jobs/specs/experiments/digits-rebalance.yaml --out runs/rebalance",
    )
    spec_and_run_arguments(added)
    log_argument(added)


def experiment(arguments: Namespace) -> None:
    """Make what is missing, measure the images, train every arm, and write the report."""
    generate(Namespace(**vars(arguments), dry_run=False, measure=False, profile=False))
    measure(Namespace(place=arguments.out, encoder="offline", most=_MOST, json=False))
    sweep(arguments)
