"""Finding what is wrong with a run, and clearing the way to make it again."""

from collections.abc import Iterable, Iterator

from engine.run.run import Run, remove_unfinished
from shards.stats import STATS_SUFFIX
from shards.tools.verify import Finding, verify_folder


def findings(run: Run) -> Iterator[Finding]:
    """All that is wrong with the shards of a run, see `verify_folder`."""
    plan = run.recipe.plan
    names = (plan.shard_name(number) for number in range(plan.n_units))
    return verify_folder(run.shards, plan.classes, names, plan.digest)


def remove_damaged(run: Run, found: Iterable[Finding]) -> list[str]:
    """Remove all files of the units that something was found wrong with, and of those that are not finished, so that
    the run makes them anew; gives the names of the shards. Files that are no part of the run are left.

    No driver may be at work on the run.
    """
    names = sorted({finding.shard for finding in found if finding.shard is not None})
    for name in names:
        for end in (STATS_SUFFIX, ".tar", ".parquet"):  # the stats file first: without it the unit is not finished
            run.shards.remove(f"{name}{end}")
    remove_unfinished(run)
    return names
