"""Writer of one shard: a tar of samples and its parquet index, under temporary names until they are published."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.sample import IMAGE_FORMATS, Sample, Scalar
from shards.storage.commit import sha256_of
from shards.storage.open_store import open_store
from shards.storage.store import StoreLike
from shards.tarball import END_OF_TAR, pack_members

_BUFFER_BYTES = 1 << 20
_INDEX_COLUMNS = dict.fromkeys(IMAGE_FORMATS, "image") | {"mask.png": "mask"}
_ROWS_PER_CHUNK = 4096
_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}

Row = Mapping[str, Scalar | None]


@dataclass(frozen=True)
class PublishedFile:
    """A published file as a stats file records it."""

    name: str
    size: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the stats file."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


class ShardWriter:
    """A writer of `name.tar` and `name.parquet` in a folder or object store.

    schema: columns of the index, null where a sample lacks the field. Default: the fields that all samples have.

    Equal samples in equal order give equal bytes. Nothing appears in the folder before `publish`; a writer that is
    closed without it leaves nothing behind. Memory is constant, except for the index.
    """

    def __init__(self, folder: StoreLike, name: str, schema: pa.Schema | None = None) -> None:
        self._store, self._name = open_store(folder), name
        self._staged_tar = self._store.staging(f"{name}.tar")
        self._staged_index = self._store.staging(f"{name}.parquet")
        self._file = self._staged_tar.open("xb", buffering=_BUFFER_BYTES)
        self._hash = hashlib.sha256()
        self._offset = 0
        self._index = _IndexRows(schema)
        self._keys: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Append one sample. Raise ShardError for a repeated key, or fields that differ from the first sample's."""
        members = sample.members()
        files = [(f"{sample.key}.{extension}", data) for extension, data in members]
        columns = [_INDEX_COLUMNS.get(extension, extension) for extension, _ in members]
        meta = sample.meta if "key" in sample.meta else {"key": sample.key, **sample.meta}
        self.append(sample.key, files, columns, {**meta, "image_format": sample.format})

    def append(self, key: str, files: Sequence[tuple[str, bytes]], columns: Sequence[str], fields: Row) -> None:
        """Append one sample as files, given by name and content. Raise ShardError like `add`.

        columns: name of each file in the index. fields: the rest of its index row.
        """
        if key in self._keys:
            raise ShardError(f"{self._name}: sample key {key!r} twice")
        data, offsets = pack_members(files)
        row = dict(fields)
        for column, (_, content), offset in zip(columns, files, offsets, strict=True):
            row[f"{column}_offset"], row[f"{column}_size"] = self._offset + offset, len(content)
        self._index.add(key, row)
        self._keys.add(key)
        self._write(data)

    def publish(self) -> tuple[PublishedFile, PublishedFile]:
        """Finish and publish both files; return the records of tar and index. Raise CommitConflict."""
        self._write(END_OF_TAR)
        self._file.close()
        tar = PublishedFile(f"{self._name}.tar", self._offset, self._hash.hexdigest())
        pq.write_table(self._index.table(), self._staged_index, compression="zstd")
        index = PublishedFile(f"{self._name}.parquet", self._staged_index.stat().st_size, sha256_of(self._staged_index))
        self._store.publish(self._staged_tar, tar.name)
        self._store.publish(self._staged_index, index.name)
        return tar, index

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._file.close()  # flushes the buffer, which fails on a full disk
        finally:
            self._staged_tar.unlink(missing_ok=True)
            self._staged_index.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._offset += len(data)


class _IndexRows:
    """Rows of an index. Full chunks are kept as columns, which need a tenth of the memory of dicts."""

    def __init__(self, schema: pa.Schema | None) -> None:
        self._schema = schema
        self._names: tuple[str, ...] = () if schema is None else tuple(schema.names)
        self._types: tuple[type, ...] = ()
        self._rows: list[tuple[Scalar | None, ...]] = []
        self._tables: list[pa.Table] = []

    def add(self, key: str, row: Row) -> None:
        """Append a row. Raise ShardError where its fields are not those of the first row, by name and type."""
        if self._schema is None:
            row = self._checked(key, row)
        self._rows.append(tuple(map(row.get, self._names)))
        if len(self._rows) == _ROWS_PER_CHUNK:
            self._pack()

    def table(self) -> pa.Table:
        """Return all rows."""
        if self._rows:
            self._pack()
        if not self._tables:
            return pa.table({"key": pa.array([], pa.string())})
        return pa.concat_tables(self._tables).combine_chunks()  # parquet's pages would follow the chunks

    def _checked(self, key: str, row: Row) -> Row:
        if not self._names:
            self._names, self._types = tuple(row), tuple(map(type, row.values()))
        if tuple(row) != self._names:
            if differing := sorted(row.keys() ^ set(self._names)):
                raise ShardError(f"{key}: fields differ from the first sample's by {differing}")
            row = {name: row[name] for name in self._names}
        # Readers infer a schema from the first samples: after an int, 0.5 would be read as 0.
        if tuple(map(type, row.values())) != self._types:  # one comparison: a loop would cost time per sample
            name, expected = next(
                (name, kind) for name, kind in zip(self._names, self._types, strict=True) if type(row[name]) is not kind
            )
            types = f"is {type(row[name]).__name__}, and was {expected.__name__} in the first sample"
            raise ShardError(f"{key}: field {name!r} {types}")
        return row

    def _pack(self) -> None:
        types = [_ARROW_TYPES.get(kind) for kind in self._types] if self._schema is None else self._schema.types
        columns = map(_arrow_column, self._names, types, zip(*self._rows, strict=True))
        self._tables.append(pa.Table.from_arrays(list(columns), self._names))
        self._rows.clear()


def _arrow_column(name: str, kind: pa.DataType | None, values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, kind)
    except OverflowError:
        too_large = next(value for value in values if not -(2**63) <= int(value) < 2**63)
        raise ShardError(f"field {name!r}: {too_large} does not fit 64 bits; store it as text") from None
