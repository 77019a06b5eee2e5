"""Contact sheets: a few images of each class, spread over the run.

Of a run of any size only so many shards' indexes are read, and only so many images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from engine.report.pictures import SHEET, Picture, SampleRef, index, picture, samples, spread
from shards.storage.open_store import open_store
from shards.storage.store import StoreLike

_Strategies = dict[str, list[SampleRef]]


def pictures(place: StoreLike, shards_of: Mapping[int, Sequence[str]], count: int) -> dict[int, list[Picture]]:
    """At most `count` images of each label, from at most so many of the shards that are said to hold it: equally many
    of each prompt strategy, one strategy after the other.

    Raises ShardError where a shard or its index cannot be read.
    """
    chosen = {label: spread(shards, count) for label, shards in shards_of.items()}
    store = open_store(place)
    found: dict[int, _Strategies] = {label: {} for label in chosen}
    for shard in sorted({shard for shards in chosen.values() for shard in shards}):
        table = index(store, shard)
        for label, shards in chosen.items():
            if shard in shards:
                for name, rows in _by_strategy(table, label).items():
                    some = samples(store, shard, table.take(spread(rows, count)))
                    found[label].setdefault(name, []).extend(some)
    return {label: [picture(one, SHEET) for one in _share(some, count)] for label, some in found.items()}


def _by_strategy(table: pa.Table, label: int) -> dict[str, list[int]]:
    """Rows of a label, by prompt strategy in the order of names; of real images there is but one, without a name."""
    rows = np.flatnonzero(table["label"].to_numpy() == label)
    if "strategy" not in table.column_names:
        return {"": rows.tolist()}
    strategy = np.asarray(table["strategy"].take(rows).to_pylist())
    return {str(name): rows[strategy == name].tolist() for name in np.unique(strategy)}


def _share(found: _Strategies, count: int) -> list[SampleRef]:
    """Equally many of each strategy; of more than `count` strategies one of each of `count`."""
    names = spread(sorted(found), count)
    return [sample for name in names for sample in spread(found[name], count // len(names))]
