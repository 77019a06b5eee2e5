"""What is finished in a folder of shards, local or in an object store: stats files and indexes."""

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.stats import SUFFIX, Stats
from shards.storage.store import Store, open_store

_AT_ONCE = 16

Place = str | Path | Store


def finished(place: Place) -> list[str]:
    """Names of the shards that have a stats file, in order, such as `00012`."""
    return [name.removesuffix(SUFFIX) for name in open_store(place).entries() if name.endswith(SUFFIX)]


def read_stats(place: Place, shard: str) -> Stats:
    """The stats of one shard. Raises Missing, or ShardError where its file is damaged."""
    store, name = open_store(place), f"{shard}{SUFFIX}"
    try:
        found = json.loads(store.read(name))
        names = [file["name"] for file in found["files"]]
        if names != [f"{shard}.{kind}" for kind in ("tar", "parquet")]:
            raise ValueError(f"it speaks of {names}")
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{store}/{name}: damaged ({error}); run repair") from None
    return dict(found)


def all_stats(place: Place) -> dict[str, Stats]:
    """The stats of every finished shard by its name, in order."""
    store = open_store(place)
    names = finished(store)
    with ThreadPoolExecutor(1 if store.local else _AT_ONCE) as pool:
        return dict(zip(names, pool.map(lambda name: read_stats(store, name), names), strict=True))


def read_index(place: Place, shard: str) -> pa.Table:
    """The index of one shard: a row per sample. Raises ShardError where it is missing, damaged or not ours."""
    store, name = open_store(place), f"{shard}.parquet"
    try:
        table = pq.ParquetFile(io.BytesIO(store.read(name))).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"{store}/{name}: cannot be read: {str(error).splitlines()[0]}") from None
    if table.num_rows and "image_offset" not in table.column_names:
        raise ShardError(f"{store}/{name}: not an index of ours, it lacks image_offset")
    return table


def read_rows(place: Place, columns: Sequence[str]) -> list[dict[str, Any]]:
    """These columns of all finished shards, a dict per sample."""
    store = open_store(place)
    tables = [read_index(store, name) for name in finished(store)]
    return [row for table in tables if table.num_rows for row in table.select(columns).to_pylist()]


def finished_tars(folder: Path) -> list[Path]:
    """The tars of the finished shards of a local folder, in order."""
    return [folder / f"{name}.tar" for name in finished(folder)]


def read_shard(tar: Path) -> list[dict[str, Any]]:
    """All rows of the index beside a local tar."""
    rows: list[dict[str, Any]] = read_index(tar.parent, tar.stem).to_pylist()
    return rows


def finish(store: Store, shard: str, stats: Stats) -> Stats:
    """Publish the stats file of a shard, last of its three; gives what stands there then, if another writer was first.

    Raises ShardError where tar or index are not there any more as published: whoever was stopped in between for hours,
    as a frozen machine is, may find them swept.
    """
    for facts in stats["files"]:
        if store.size(facts["name"]) != facts["size"]:
            raise ShardError(f"{store}/{facts['name']}: was changed or swept before the shard was finished")
    return stats if store.publish_json(f"{shard}{SUFFIX}", stats) else read_stats(store, shard)
