"""The index of shards: which samples they hold, and where each member is in which tar."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.errors import ShardError
from shards.reading.foreign_index import read_foreign_index
from shards.reading.members import Members
from shards.stats import STATS_SUFFIX
from shards.storage.locations import ShardFile, find_tars, read_bytes
from shards.storage.retries import AccessRefused, FileMissing, first_line
from shards.storage.shard_cache import ShardCache

ByteRanges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Offset and size in bytes of one member of each sample; offset -1 for a sample without it."""

_THREADS = 16
_TYPES = {"key": pa.large_string(), "label": pa.int64(), "synthetic": pa.bool_(), "class_name": pa.large_string()}
_NEVER_NULL = ("key", "_offset", "_size")


@dataclass(frozen=True)
class ShardIndex:
    """All samples of some shards, in the order of shard names and then of the tar."""

    tars: tuple[ShardFile, ...]  # the shards; `shard[i]` is the number of sample i's among them
    keys: pa.Array
    shard: NDArray[np.int32]
    label: NDArray[np.int64]  # class index; -1 if the shards have no labels
    synthetic: NDArray[np.bool_]  # valid where `synthetic_known` is true
    synthetic_known: NDArray[np.bool_]
    class_of: pa.DictionaryArray  # class name; null if they have no names
    ranges: Mapping[str, ByteRanges]  # of `image`, and of the extra members that were requested

    def __len__(self) -> int:
        return len(self.shard)

    def key(self, i: int) -> str:
        """Return the key of sample i."""
        return str(self.keys[i].as_py())

    def class_pairs(self) -> tuple[list[tuple[int, str | None]], NDArray[np.int64]]:
        """Return the distinct pairs of label and class name, and the number of each sample's pair."""
        names = [*self.class_of.dictionary.to_pylist(), None]
        name = self.class_of.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
        # Numbers stand for labels, because a product with a large label would overflow.
        labels, label = np.unique(self.label, return_inverse=True)
        pairs, pair_of = np.unique(label * len(names) + name, return_inverse=True)
        return [(int(labels[pair // len(names)]), names[pair % len(names)]) for pair in pairs], pair_of


def open_index(
    shards: str | Path | Sequence[str | Path],
    *,
    members: Members | None = None,
    extra: Sequence[str] = (),
    cache: ShardCache | None = None,
    check_hashes: bool = False,
) -> ShardIndex:
    """Read the index of every shard, or make it by scanning the tar. Raises ShardError for no shard or damage.

    extra: members to index besides the image: `mask`, `json`, `txt`. For the others see ShardStream.
    """
    tars = find_tars(shards)
    reader = _IndexReader(members or Members(), ("image", *extra), cache, check_hashes)
    with ThreadPoolExecutor(min(_THREADS, len(tars))) as pool:
        tables = list(pool.map(reader.read, tars))
    nonempty = [(tar, table) for tar, table in zip(tars, tables, strict=True) if table.num_rows]
    if not nonempty:
        raise ShardError(f"{shards}: every shard is empty")
    table = pa.concat_tables([table for _, table in nonempty])
    return ShardIndex(
        tars=tuple(tar for tar, _ in nonempty),
        keys=table["key"].combine_chunks(),
        shard=np.repeat(np.arange(len(nonempty), dtype=np.int32), [table.num_rows for _, table in nonempty]),
        label=table["label"].fill_null(-1).to_numpy(),
        synthetic=table["synthetic"].fill_null(False).to_numpy(),
        synthetic_known=table["synthetic"].is_valid().to_numpy(),
        class_of=table["class_name"].combine_chunks().dictionary_encode(),
        ranges={name: _byte_ranges(table, name) for name in reader.indexed},
    )


@dataclass(frozen=True)
class _IndexReader:
    """A reader of the indexes of single shards. indexed: members whose byte ranges are read."""

    members: Members
    indexed: Sequence[str]
    cache: ShardCache | None
    check_hashes: bool

    def read(self, tar: ShardFile) -> pa.Table:
        """Return one shard's index, with the same columns and types for every shard."""
        index = self._own_index(tar)
        if index is None:
            local = tar.local or (self.cache or ShardCache()).path(tar)
            index = read_foreign_index(local, tar.url, tar.version, self.members)
        types = _TYPES | {f"{name}_{column}": pa.int64() for name in self.indexed for column in ("offset", "size")}
        try:
            table = pa.table({name: _column(index, name, type_) for name, type_ in types.items()})
            table.validate(full=True)
            _check_values(table, self.indexed)
        except (pa.ArrowException, LookupError, ValueError) as error:
            raise ShardError(
                f"{tar.sibling('.parquet')}: has invalid values: {first_line(error)!r}; run verify, or remove it: the "
                "tar is read then"
            ) from None
        return table

    def _own_index(self, tar: ShardFile) -> pa.Table | None:
        """Return the index that our writer wrote beside the tar; None if there is none."""
        place = tar.sibling(".parquet")
        try:
            content = None if tar.local and not self.check_hashes else read_bytes(place)
            table = pq.ParquetFile(place if content is None else io.BytesIO(content)).read()
            columns = table.column_names
        except (FileNotFoundError, FileMissing, AccessRefused):  # refused: how a store without listing says missing
            return None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ShardError(f"{place}: cannot be read: {first_line(error)!r}") from None
        if table.num_rows and "image_offset" not in columns:
            return None  # another program's
        if content is not None and self.check_hashes:
            actual, recorded = sha256(content).hexdigest(), recorded_sha256(tar, ".parquet")
            if actual != recorded:
                raise ShardError(f"{place}: SHA-256 is {actual}, and its stats file says {recorded}; run verify")
        return table


def _byte_ranges(table: pa.Table, member: str) -> ByteRanges:
    return table[f"{member}_offset"].to_numpy(), table[f"{member}_size"].to_numpy()


def _check_values(table: pa.Table, members: Sequence[str]) -> None:
    """Raise ValueError for a sample without a key, and for impossible byte ranges."""
    if nulls := [name for name in table.column_names if name.endswith(_NEVER_NULL) and table[name].null_count]:
        raise ValueError(f"{nulls[0]} is null")
    for name in members:
        offset, size = _byte_ranges(table, name)
        absent = (offset == -1) & (size == 0)
        if not (absent | (offset >= 0) & (size >= 0) & (offset + size >= 0)).all():  # a sum that overflows is negative
            raise ValueError(f"{name}_offset and {name}_size are no range of bytes in a file")


def _column(table: pa.Table, name: str, type_: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Return a column in a type, with the value for an absent member if the table lacks it."""
    if name in table.column_names:
        return table[name].cast(type_)
    absent = {"offset": -1, "size": 0}.get(name.rpartition("_")[2])
    return pa.repeat(pa.scalar(absent, type_), table.num_rows)


def recorded_sha256(tar: ShardFile, suffix: str = ".tar") -> str:
    """Return the SHA-256 of a tar or its index in the stats file beside it. Raises ShardError if there is none."""
    place, name = tar.sibling(STATS_SUFFIX), tar.name.removesuffix(".tar") + suffix
    try:
        (digest,) = (file["sha256"] for file in json.loads(read_bytes(place))["files"] if file["name"] == name)
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{digest[:80]!r} is no hash")
    except (ShardError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ShardError(f"{place}: names no SHA-256 of {name} ({error}), so it cannot be checked") from None
    return str(digest)
