"""The finished shards of a folder, local or in an object store: their stats files and indexes."""

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.stats import STATS_SUFFIX, Stats
from shards.storage.open_store import open_store
from shards.storage.store import Store, StoreLike

_REMOTE_THREADS = 16


def finished_shards(place: StoreLike) -> list[str]:
    """Return the names of the shards that have a stats file, such as `00012`, in order."""
    names = open_store(place).entries()
    return [name.removesuffix(STATS_SUFFIX) for name in names if name.endswith(STATS_SUFFIX)]


def finished_tars(folder: Path) -> list[Path]:
    """Return the tars of the finished shards of a local folder, in order."""
    return [folder / f"{name}.tar" for name in finished_shards(folder)]


def read_stats(place: StoreLike, shard: str) -> Stats:
    """Read the stats of one shard. Raises FileMissing, or ShardError if the file is damaged."""
    store, name = open_store(place), f"{shard}{STATS_SUFFIX}"
    try:
        stats = json.loads(store.read(name))
        names = [file["name"] for file in stats["files"]]
        if names != [f"{shard}.tar", f"{shard}.parquet"]:
            raise ValueError(f"it lists the files {names}")
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{store}/{name}: damaged ({error}); run repair") from None
    return dict(stats)


def read_all_stats(place: StoreLike) -> dict[str, Stats]:
    """Read the stats of every finished shard, by shard name, in order."""
    store = open_store(place)
    names = finished_shards(store)
    with ThreadPoolExecutor(1 if store.local else _REMOTE_THREADS) as pool:
        return dict(zip(names, pool.map(lambda name: read_stats(store, name), names), strict=True))


def read_index(place: StoreLike, shard: str) -> pa.Table:
    """Read the index of one shard, a row per sample. Raises ShardError if it is missing, damaged or of another tool."""
    store, name = open_store(place), f"{shard}.parquet"
    try:
        table = pq.ParquetFile(io.BytesIO(store.read(name))).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"{store}/{name}: cannot be read: {str(error).splitlines()[0]}") from None
    if table.num_rows and "image_offset" not in table.column_names:
        raise ShardError(f"{store}/{name}: not a Shardmill index, it lacks image_offset")
    return table


def read_rows(place: StoreLike, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read some columns of the indexes of all finished shards, a dict per sample."""
    store = open_store(place)
    tables = [read_index(store, name) for name in finished_shards(store)]
    return [row for table in tables if table.num_rows for row in table.select(columns).to_pylist()]


def read_index_rows(tar: Path) -> list[dict[str, Any]]:
    """Read all rows of the index beside a local tar."""
    return list(read_index(tar.parent, tar.stem).to_pylist())


def publish_stats(store: Store, shard: str, stats: Stats) -> Stats:
    """Publish the stats file of a shard, which finishes it. Return the stored stats: another writer's if it was first.

    Raises ShardError if the tar or the index has changed or is gone since it was published.
    """
    for file in stats["files"]:  # they may have been swept if this writer was suspended for hours
        if store.size(file["name"]) != file["size"]:
            raise ShardError(f"{store}/{file['name']}: was changed or swept before the shard was finished")
    return stats if store.publish_json(f"{shard}{STATS_SUFFIX}", stats) else read_stats(store, shard)
