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
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.errors import ShardError

Stats = dict[str, Any]
SUFFIX = "_stats.json"


def read_stats(path: Path) -> Stats:
    """One stats file. Raises ShardError where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = [file["name"] for file in found["files"]]
        if names != [path.name.replace(SUFFIX, f".{kind}") for kind in ("tar", "parquet")]:
            raise ValueError(f"it speaks of {names}")
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: damaged ({error}); move it away and run the same command again") from None
    return dict(found)


def all_stats(folder: Path) -> dict[str, Stats]:
    """Every stats file of a folder by the name of its shard, in order."""
    return {path.name.removesuffix(SUFFIX): read_stats(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def total_by_class(stats: Iterable[Stats], kind: str) -> dict[str, int]:
    """Sum over shards of `planned`, `kept`, `failed` or `rejected`."""
    totals: dict[str, int] = {}
    for one in stats:
        for name, count in one[kind].items():
            totals[name] = totals.get(name, 0) + count
    return totals
