"""The index of shards: which samples there are, and where in which tar."""

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
from shards.storage.retries import FileMissing, AccessRefused, first_line
from shards.storage.shard_cache import ShardCache

ByteRanges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Offset and size in bytes of one member of each sample; offset -1 where a sample lacks it."""

_AT_ONCE = 16
_NEVER_NULL = ("key", "_offset", "_size")


@dataclass(frozen=True)
class ShardIndex:
    """Samples of all shards of a place, in the order of shard names and then of the tar.

    tars:      the shard files; `shard[i]` is an index into them.
    label:     class index; -1 where the shards tell none.
    synthetic: where a shard does not say, `known` is false.
    class_of:  name of each sample's class; null where the shards tell none.
    places:    of `image`, and of those of `mask`, `json`, `txt` that were asked for.
    """

    tars: tuple[ShardFile, ...]
    keys: pa.Array
    shard: NDArray[np.int32]
    label: NDArray[np.int64]
    synthetic: NDArray[np.bool_]
    known: NDArray[np.bool_]
    class_of: pa.DictionaryArray
    places: Mapping[str, ByteRanges]

    def __len__(self) -> int:
        return len(self.shard)

    def key(self, i: int) -> str:
        """Key of sample i."""
        return str(self.keys[i].as_py())

    def pairs(self) -> tuple[list[tuple[int, str | None]], NDArray[np.int64]]:
        """The distinct (label, class name), and for each sample the number of its own among them."""
        names = [*self.class_of.dictionary.to_pylist(), None]
        code = self.class_of.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
        labels, label = np.unique(self.label, return_inverse=True)  # numbered, for products of large ones overflow
        distinct, which = np.unique(label * len(names) + code, return_inverse=True)
        return [(int(labels[one // len(names)]), names[one % len(names)]) for one in distinct], which


def open_index(
    shards: str | Path | Sequence[str | Path],
    *,
    members: Members | None = None,
    also: Sequence[str] = (),
    cache: ShardCache | None = None,
    check_hashes: bool = False,
) -> ShardIndex:
    """Read, or make by scanning, the index of every shard of a place.

    shards: a folder, a tar, a pattern with `{00000..00099}`, `*` or `?`, a URL of any of these, or a list of such.
    members: which members are what, in shards that others wrote. also: members besides the image, whose places are
    wanted too. check_hashes: compare an index that lies beside its tar with the SHA-256 in the stats file there.
    Raises ShardError where there are none, or one is damaged.
    """
    tars = find_tars(shards)
    opener = _Opener(members or Members(), also, cache, check_hashes)
    with ThreadPoolExecutor(min(_AT_ONCE, len(tars))) as pool:
        tables = list(pool.map(opener.table, tars))
    kept = [(tar, table) for tar, table in zip(tars, tables, strict=True) if table.num_rows]
    if not kept:
        raise ShardError(f"{shards}: every shard is empty")
    table = pa.concat_tables([table for _, table in kept])
    places = {}
    for name in ("image", *also):
        offset, size = (table[f"{name}_{fact}"].to_numpy() for fact in ("offset", "size"))
        places[name] = (offset, size)
    return ShardIndex(
        tars=tuple(tar for tar, _ in kept),
        keys=table["key"].combine_chunks(),
        shard=np.repeat(np.arange(len(kept), dtype=np.int32), [t.num_rows for _, t in kept]),
        label=table["label"].fill_null(-1).to_numpy(),
        synthetic=table["synthetic"].fill_null(False).to_numpy(),
        known=table["synthetic"].is_valid().to_numpy(),
        class_of=table["class_name"].combine_chunks().dictionary_encode(),
        places=places,
    )


@dataclass(frozen=True)
class _Opener:
    members: Members
    also: Sequence[str]
    cache: ShardCache | None
    check_hashes: bool

    def table(self, tar: ShardFile) -> pa.Table:
        """The wanted columns of one shard's index, all of them, in the same types."""
        table = self._own(tar)
        if table is None:
            local = tar.local or (self.cache or ShardCache()).path(tar)
            table = read_foreign_index(local, tar.url, tar.version, self.members)
        wanted = {
            "key": pa.large_string(),
            "label": pa.int64(),
            "synthetic": pa.bool_(),
            "class_name": pa.large_string(),
        }
        wanted |= {f"{name}_{fact}": pa.int64() for name in ("image", *self.also) for fact in ("offset", "size")}
        rows = table.num_rows
        try:
            found = pa.table({name: _column(table, name, kind, rows) for name, kind in wanted.items()})
            found.validate(full=True)
            _check(found, ("image", *self.also))
        except (pa.ArrowException, LookupError, ValueError) as error:
            what = f"says what cannot be: {first_line(error)!r}"
            raise ShardError(
                f"{tar.sibling('.parquet')}: {what}; run verify, or remove it: the tar is read then"
            ) from None
        return found

    def _own(self, tar: ShardFile) -> pa.Table | None:
        """What our writer wrote beside the tar; None where there is no such file, or it is another program's."""
        place = tar.sibling(".parquet")
        try:
            content = None if tar.local and not self.check_hashes else read_bytes(place)
            table = pq.ParquetFile(place if content is None else io.BytesIO(content)).read()
            names = table.column_names
        except (FileNotFoundError, FileMissing, AccessRefused):  # a store that may not be listed says this of what is not there
            return None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ShardError(f"{place}: cannot be read: {first_line(error)!r}") from None
        if table.num_rows and "image_offset" not in names:
            return None
        if content is not None and self.check_hashes:
            found, recorded = sha256(content).hexdigest(), recorded_sha256(tar, ".parquet")
            if found != recorded:
                raise ShardError(f"{place}: SHA-256 is {found}, and its stats file says {recorded}; run verify")
        return table


def _check(table: pa.Table, members: Sequence[str]) -> None:
    """Raises ValueError for a sample without a key, and for places that no file has."""
    if nulls := [name for name in table.column_names if name.endswith(_NEVER_NULL) and table[name].null_count]:
        raise ValueError(f"{nulls[0]} is null")
    for name in members:
        offset, size = (table[f"{name}_{fact}"].to_numpy() for fact in ("offset", "size"))
        absent = (offset == -1) & (size == 0)
        if not (absent | (offset >= 0) & (size >= 0) & (offset + size >= 0)).all():  # a sum that overflows is negative
            raise ValueError(f"{name}_offset and {name}_size are no place in a file")


def _column(table: pa.Table, name: str, kind: pa.DataType, rows: int) -> pa.ChunkedArray | pa.Array:
    if name in table.column_names:
        return table[name].cast(kind)
    if name.endswith("_offset"):
        return pa.array(np.full(rows, -1), kind)
    return pa.array(np.zeros(rows, np.int64), kind) if name.endswith("_size") else pa.nulls(rows, kind)


def recorded_sha256(tar: ShardFile, suffix: str = ".tar") -> str:
    """The SHA-256 that the stats file beside a tar names, of it or its index. Raises ShardError where there is none."""
    place, name = tar.sibling(STATS_SUFFIX), tar.name.removesuffix(".tar") + suffix
    try:
        (found,) = (file["sha256"] for file in json.loads(read_bytes(place))["files"] if file["name"] == name)
        if not re.fullmatch("[0-9a-f]{64}", found):
            raise ValueError("it is no hash")
    except (ShardError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ShardError(f"{place}: names no SHA-256 of {name} ({error}), so it cannot be checked") from None
    return str(found)
