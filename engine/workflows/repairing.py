"""The job `repair`: verify a run and make damaged, missing and unfinished units anew."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.monitoring.log import Log
from engine.run.run import Run, remove_unfinished
from engine.workflows.generation import make_units
from shards.stats import STATS_SUFFIX
from shards.tools.verify import Finding, verify_folder


@dataclass(frozen=True)
class Damage:
    """Everything that is wrong with the shards of a run."""

    findings: list[Finding]
    units: list[str]  # names of the shards to make anew
    others: int  # number of files that are no part of the run; they are never removed


def findings(run: Run) -> Iterator[Finding]:
    """Yield everything that is wrong with the shards of a run, see `verify_folder`."""
    plan = run.context.plan
    names = (plan.shard_name(number) for number in range(plan.n_units))
    return verify_folder(run.shards, plan.classes, names, plan.digest)


def find_damage(run: Run) -> Damage:
    """Check every hash, count, label and key of a run."""
    problems = list(findings(run))
    return Damage(problems, _damaged_units(problems), sum(problem.shard is None for problem in problems))


def repair(run: Run, damage: Damage, log: Log) -> None:
    """Remove the damaged units and make them anew. No driver may be at work on the run."""
    remove_damaged(run, damage.findings)
    make_units(run, log)


def remove_damaged(run: Run, problems: Iterable[Finding]) -> list[str]:
    """Remove damaged and unfinished units; return the damaged shards' names. No driver may be at work on the run."""
    names = _damaged_units(problems)
    for name in names:
        for end in (STATS_SUFFIX, ".tar", ".parquet"):  # the stats file first: without it the unit counts as unfinished
            run.shards.remove(f"{name}{end}")
    remove_unfinished(run)
    return names


def _damaged_units(problems: Iterable[Finding]) -> list[str]:
    return sorted({finding.shard for finding in problems if finding.shard is not None})
