"""The stats file of a shard, NNNNN_stats.json: its existence says that the shard is finished.

Its fields:

    unit, count                        number of the unit; samples in the tar
    planned, kept, failed              counts by class name; planned = kept + failed for every class
    strategies                         planned and kept by strategy of prompts; not for real images
    rejected                           attempts that a filter turned down, by reason
    failures                           for each failed slot: key, class, reason of each attempt
    files                              name, size and SHA-256 of the tar and of its index
    plan_digest                        of the plan that it is part of; "" for real images
    model, revision, license, pipeline, scheduler, generation        what made it; not for real images
    batch_size, device, versions       how it was made
    duration_s, images_per_second      seconds in which the unit had the device; over all units of an actor, which has
                                       them one after another, at most the time that this was there
    seconds                            where they went: `text`, `denoise`, `decode`, `copy` and `wait` (nothing to do)
                                       of the device; `encode` and `commit` of threads of the host meanwhile, added up,
                                       and `commit` up to tar and index, for the stats file is written after that
"""

from collections.abc import Iterable
from typing import Any

Stats = dict[str, Any]
STATS_SUFFIX = "_stats.json"


def total_by_class(stats: Iterable[Stats], kind: str) -> dict[str, int]:
    """Sum over shards of `planned`, `kept`, `failed` or `rejected`."""
    totals: dict[str, int] = {}
    for one in stats:
        for name, count in one[kind].items():
            totals[name] = totals.get(name, 0) + count
    return totals
