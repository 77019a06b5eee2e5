"""Selections: which samples of an index a stream takes, and how often, chosen by key."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.errors import ShardError


def select_rows(
    keys: pa.Array, selection: str | Path | Iterable[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the rows of the selected keys, ascending, and how often each comes in an epoch on average (None: once).

    selection: a parquet file with a column `key` and optionally `weight` (>= 0), or the keys themselves.
    Raises ShardError for unknown or repeated keys, invalid weights, and an empty selection.
    """
    if isinstance(selection, str | Path):
        table, place = read_selection(selection), str(selection)
    else:
        table, place = pa.table({"key": pa.array(list(selection), pa.string())}), "select"
    matches = pc.index_in(table["key"].cast(keys.type), value_set=keys).combine_chunks()
    if matches.null_count:
        missing = table["key"].filter(matches.is_null())
        raise ShardError(
            f"{place}: {len(missing):,} of {len(table):,} keys are not in the shards, the first is "
            f"{missing[0].as_py()!r}"
        )
    counts = keys.filter(pc.is_in(keys, value_set=table["key"].cast(keys.type).combine_chunks())).value_counts()
    if repeated := counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist():
        raise ShardError(f"{place}: several samples of the shards have the key {repeated[0]!r}; name fewer shards")
    rows = matches.to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.argsort(rows, kind="stable")
    if (np.diff(rows[order]) == 0).any():
        raise ShardError(f"{place}: a key stands there twice; give it a weight of 2 instead")
    weight = table["weight"].to_numpy().astype(np.float64)[order] if "weight" in table.column_names else None
    if weight is not None and not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ShardError(f"{place}: weights must be numbers of 0 or more")
    if not len(rows) or (weight is not None and round(float(weight.sum())) < 1):
        raise ShardError(f"{place}: it selects nothing")
    return rows[order], weight


def read_selection(path: str | Path) -> pa.Table:
    """Read a parquet file with a column `key`. Raises ShardError if it is anything else."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"{path}: cannot be read as parquet: {str(error).splitlines()[0]}") from None
    if "key" not in table.column_names:
        raise ShardError(f"{path}: a selection has a column `key`, this has {', '.join(table.column_names)}")
    return table
