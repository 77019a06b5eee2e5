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
    batch_size, duration_s, images_per_second, device, versions      how it was made
    host_wait_s                        of duration_s, what the generator waited for filters, encoding and storage
"""

from collections.abc import Iterable
from typing import Any

Stats = dict[str, Any]
SUFFIX = "_stats.json"


def total_by_class(stats: Iterable[Stats], kind: str) -> dict[str, int]:
    """Sum over shards of `planned`, `kept`, `failed` or `rejected`."""
    totals: dict[str, int] = {}
    for one in stats:
        for name, count in one[kind].items():
            totals[name] = totals.get(name, 0) + count
    return totals
