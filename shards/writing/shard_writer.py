"""Writing one shard: a tar of samples and its parquet index, both under staged names until they are published."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.sample import IMAGE_FORMATS, Sample, Scalar
from shards.storage.commit import sha256_of
from shards.storage.store import Store, open_store
from shards.tarball import END, blocks

_BUFFER = 1 << 20
_COLUMNS = dict.fromkeys(IMAGE_FORMATS, "image") | {"mask.png": "mask"}
_ROWS = 4096
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


@dataclass(frozen=True)
class FileFacts:
    """What a stats file records of a published file."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str) -> Self:
        """Of the file at `path`, which will be called `name`."""
        return cls(name, path.stat().st_size, sha256_of(path))

    def as_json(self) -> dict[str, Any]:
        """For the stats file."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


class ShardWriter:
    """Writes `name.tar` and `name.parquet` in a folder or object store, in constant memory but for the index.

    schema: columns of the index, null where a sample lacks the field. By default they are the fields of the first
            sample, which all others must have in the same types.

    Equal samples in equal order give equal bytes. Nothing appears there before `publish`; a writer that is closed
    without it leaves nothing behind.
    """

    def __init__(self, folder: str | Path | Store, name: str, schema: pa.Schema | None = None) -> None:
        self._store, self._name = open_store(folder), name
        self._staged = self._store.staging(f"{name}.tar")
        self._staged_index = self._store.staging(f"{name}.parquet")
        self._file = self._staged.open("xb", buffering=_BUFFER)
        self._hash = hashlib.sha256()
        self._offset = 0
        self._index = _Rows(schema)
        self._keys: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Append one sample. Raises ShardError where its key stands already, or its fields differ from the first's."""
        members = sample.members()
        files = [(f"{sample.key}.{extension}", data) for extension, data in members]
        columns = [_COLUMNS.get(extension, extension) for extension, _ in members]
        self.append(sample.key, files, columns, {**sample.meta, "image_format": sample.format})

    def append(
        self, key: str, files: Sequence[tuple[str, bytes]], columns: Sequence[str], facts: Mapping[str, Scalar | None]
    ) -> None:
        """Append one sample by the names and contents of its files.

        columns: what each file is called in the index. facts: the rest of its row. Raises ShardError as `add` does.
        """
        if key in self._keys:
            raise ShardError(f"{self._name}: sample key {key!r} twice")
        data, places = blocks(files)
        row = dict(facts)
        for column, (_, content), place in zip(columns, files, places, strict=True):
            row[f"{column}_offset"], row[f"{column}_size"] = self._offset + place, len(content)
        self._index.add(row)
        self._keys.add(key)
        self._write(data)

    def publish(self) -> tuple[FileFacts, FileFacts]:
        """Finish and publish both files; gives the facts of tar and index. Raises CommitConflict."""
        self._write(END)
        self._file.close()
        tar = FileFacts(f"{self._name}.tar", self._offset, self._hash.hexdigest())
        pq.write_table(self._index.table(), self._staged_index, compression="zstd")
        index = FileFacts.of(self._staged_index, f"{self._name}.parquet")
        self._store.publish(self._staged, tar.name)
        self._store.publish(self._staged_index, index.name)
        return tar, index

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._file.close()
        finally:  # closing writes what is buffered, which a full disk refuses
            self._staged.unlink(missing_ok=True)
            self._staged_index.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._offset += len(data)


class _Rows:
    """Rows of an index, in columns but for the last few: a dict for each would be ten times as large."""

    def __init__(self, schema: pa.Schema | None) -> None:
        self._schema = schema
        self._names: tuple[str, ...] = () if schema is None else tuple(schema.names)
        self._types: tuple[type, ...] = ()
        self._rows: list[tuple[Scalar | None, ...]] = []
        self._tables: list[pa.Table] = []

    def add(self, row: Mapping[str, Scalar | None]) -> None:
        """Append a row. Raises ShardError where its fields are not those of the first, by name and type."""
        if self._schema is None:
            row = self._checked(row)
        self._rows.append(tuple(map(row.get, self._names)))
        if len(self._rows) == _ROWS:
            self._pack()

    def _checked(self, row: Mapping[str, Scalar | None]) -> Mapping[str, Scalar | None]:
        if not self._names:
            self._names, self._types = tuple(row), tuple(map(type, row.values()))
        if tuple(row) != self._names:
            if row.keys() != set(self._names):
                differing = sorted(row.keys() ^ set(self._names))
                raise ShardError(f"{row['key']}: fields differ from the first sample's by {differing}")
            row = {name: row[name] for name in self._names}
        # Readers infer a schema from the first samples: an int there and 0.5 later reads as 0.
        if tuple(map(type, row.values())) != self._types:
            raise ShardError(self._other_type(row))
        return row

    def table(self) -> pa.Table:
        """All rows."""
        if self._rows:
            self._pack()
        if not self._tables:
            return pa.table({"key": pa.array([], pa.string())})
        return pa.concat_tables(self._tables).combine_chunks()  # parquet's pages follow the chunks

    def _pack(self) -> None:
        kinds = [_ARROW.get(kind) for kind in self._types] if self._schema is None else self._schema.types
        found = zip(self._names, kinds, zip(*self._rows, strict=True), strict=True)
        columns = [_column(*one) for one in found]
        self._tables.append(pa.Table.from_arrays(columns, self._names))
        self._rows.clear()

    def _other_type(self, row: Mapping[str, Scalar | None]) -> str:
        found = zip(self._names, row.values(), self._types, strict=True)
        name, value, expected = next(one for one in found if type(one[1]) is not one[2])
        was = f"{type(value).__name__}, and was {expected.__name__} in the first sample"
        return f"{row['key']}: field {name!r} is {was}"


def _column(name: str, kind: pa.DataType | None, values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, kind)
    except OverflowError:
        wide = next(value for value in values if not -(2**63) <= int(value) < 2**63)
        raise ShardError(f"field {name!r}: {wide} does not fit 64 bits; store it as text") from None
