"""The job `repair`: verify a run and make damaged, missing and unfinished units anew."""

from dataclasses import dataclass

from engine.monitoring.log import Log
from engine.run.repair import findings, remove_damaged
from engine.run.run import Run
from engine.workflows.generation import make_units
from shards.tools.verify import Finding


@dataclass(frozen=True)
class Damage:
    """Everything that is wrong with the shards of a run.

    units:  names of the shards to make anew.
    others: number of files that are no part of the run; they are never removed.
    """

    findings: list[Finding]
    units: list[str]
    others: int


def find_damage(run: Run) -> Damage:
    """Check every hash, count, label and key of a run."""
    found = list(findings(run))
    units = sorted({finding.shard for finding in found if finding.shard is not None})
    return Damage(found, units, sum(finding.shard is None for finding in found))


def repair(run: Run, damage: Damage, log: Log) -> None:
    """Remove the damaged units and make them anew. No driver may be at work on the run."""
    remove_damaged(run, damage.findings)
    make_units(run, log)
