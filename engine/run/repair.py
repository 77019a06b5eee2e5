"""Finding damage in a run, and removing damaged units so that they are made again."""

from collections.abc import Iterable, Iterator

from engine.run.run import Run, remove_unfinished
from shards.stats import STATS_SUFFIX
from shards.tools.verify import Finding, verify_folder


def findings(run: Run) -> Iterator[Finding]:
    """Yield everything that is wrong with the shards of a run, see `verify_folder`."""
    plan = run.context.plan
    names = (plan.shard_name(number) for number in range(plan.n_units))
    return verify_folder(run.shards, plan.classes, names, plan.digest)


def remove_damaged(run: Run, found: Iterable[Finding]) -> list[str]:
    """Remove all files of damaged and unfinished units; return the names of the damaged shards.

    Files that are not part of the run stay. No driver may be at work on the run.
    """
    names = sorted({finding.shard for finding in found if finding.shard is not None})
    for name in names:
        for end in (STATS_SUFFIX, ".tar", ".parquet"):  # the stats file first: without it the unit counts as unfinished
            run.shards.remove(f"{name}{end}")
    remove_unfinished(run)
    return names
