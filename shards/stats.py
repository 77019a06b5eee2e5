"""The stats file of a shard, NNNNN_stats.json. Its existence marks the shard as finished.

Its fields:

    unit, count                        number of the unit; samples in the tar
    planned, kept, failed              counts by class name; planned = kept + failed for every class
    strategies                         planned and kept by prompt strategy; not for real images
    rejected                           attempts that a filter rejected, by reason
    failures                           for each failed slot: key, class, reason of each attempt
    files                              name, size and SHA-256 of the tar and of its index
    plan_digest                        of the plan; "" for real images
    model, revision, license, pipeline, scheduler, generation        what made it; not for real images
    batch_size, device, versions       how it was made
    duration_s, images_per_second      seconds in which the unit had the device. An actor's units have it one after
                                       another, so their sum is at most the actor's time
    seconds                            time by stage: `text`, `denoise`, `decode`, `copy`, `wait` (idle) of the device;
                                       `encode` and `commit` of concurrent host threads, added up. `commit` ends with
                                       tar and index, because the stats file is written after that
"""

from collections.abc import Iterable
from typing import Any

Stats = dict[str, Any]
STATS_SUFFIX = "_stats.json"


def total_by_class(all_stats: Iterable[Stats], kind: str) -> dict[str, int]:
    """Return the sum over shards of `planned`, `kept`, `failed` or `rejected`."""
    totals: dict[str, int] = {}
    for stats in all_stats:
        for name, count in stats[kind].items():
            totals[name] = totals.get(name, 0) + count
    return totals
