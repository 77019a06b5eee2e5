"""The index of a folder of shards: which samples there are, and where in which tar."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.errors import ShardError
from shards.stats import SUFFIX

_COLUMNS = ("key", "label", "synthetic", "image_format", "image_offset", "image_size")


@dataclass(frozen=True)
class ShardIndex:
    """Samples of all shards of a folder, in the order of shard names and then of the tar.

    tars:    the shard files; `shard[i]` is an index into them.
    label, synthetic, offset, size: arrays of one element per sample; offset and size are the image's, in bytes.
    """

    tars: tuple[Path, ...]
    keys: pa.ChunkedArray
    shard: NDArray[np.int32]
    label: NDArray[np.int64]
    synthetic: NDArray[np.bool_]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shard)

    def key(self, i: int) -> str:
        """Key of sample i."""
        return str(self.keys[i].as_py())


def open_index(folder: Path) -> ShardIndex:
    """Read the index of every finished shard of a folder. Raises ShardError where there is none, or one is damaged."""
    tars = finished_tars(folder)
    if not tars:
        raise ShardError(f"{folder}: no finished shard (NNNNN.tar with NNNNN.parquet)")
    tables = [_read(tar) for tar in tars]
    kept = [(tar, table) for tar, table in zip(tars, tables, strict=True) if table.num_rows]
    if not kept:
        raise ShardError(f"{folder}: every shard is empty")
    table = pa.concat_tables([table.select(_COLUMNS) for _, table in kept])
    shard = np.repeat(np.arange(len(kept), dtype=np.int32), [t.num_rows for _, t in kept])
    return ShardIndex(
        tuple(tar for tar, _ in kept),
        table["key"],
        shard,
        *(table[name].to_numpy() for name in ("label", "synthetic", "image_offset", "image_size")),
    )


def finished_tars(folder: Path) -> list[Path]:
    """The tars of a folder whose stats file exists, in the order of their names."""
    return sorted(path.with_name(path.name.replace(SUFFIX, ".tar")) for path in folder.glob(f"*{SUFFIX}"))


def read_shard(tar: Path) -> list[dict[str, Any]]:
    """All rows of one shard's index as dicts."""
    rows: list[dict[str, Any]] = _read(tar).to_pylist()
    return rows


def read_rows(folder: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """These columns of all finished shards, a dict per sample."""
    tables = [_read(tar) for tar in finished_tars(folder)]
    return [row for table in tables if table.num_rows for row in table.select(columns).to_pylist()]


def _read(tar: Path) -> pa.Table:
    path = tar.with_suffix(".parquet")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    missing = [name for name in _COLUMNS if table.num_rows and name not in table.column_names]
    if missing:
        raise ShardError(f"{path}: not an index of ours, it lacks {', '.join(missing)}")
    return table
