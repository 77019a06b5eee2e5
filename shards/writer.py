"""Writing one shard: a tar of samples and its parquet index, both under staged names until they are published."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from shards.commit import publish, sha256_of, staging_path
from shards.errors import ShardError
from shards.sample import Sample, Scalar
from shards.tarball import END, header, padding


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
    """Writes `folder/name.tar` and `folder/name.parquet`, in constant memory but for the index.

    Equal samples in equal order give equal bytes. Nothing appears in `folder` before `publish`; a writer that is closed
    without it leaves nothing behind.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._staged = staging_path(folder, f"{name}.tar")
        self._staged_index = staging_path(folder, f"{name}.parquet")
        self._file = self._staged.open("xb")
        self._hash = hashlib.sha256()
        self._offset = 0
        self._rows: list[dict[str, Scalar]] = []
        self._keys: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Append one sample. Raises ShardError where its key stands already, or its fields differ from the first's."""
        if sample.key in self._keys:
            raise ShardError(f"{self._name}: sample key {sample.key!r} twice")
        self._keys.add(sample.key)
        row: dict[str, Scalar] = {**sample.meta, "image_format": sample.format}
        for extension, data in sample.members():
            column = {sample.format: "image", "mask.png": "mask"}.get(extension, extension)
            self._write(header(f"{sample.key}.{extension}", len(data)))
            row[f"{column}_offset"], row[f"{column}_size"] = self._offset, len(data)
            self._write(data)
            self._write(padding(len(data)))
        self._check_fields(sample.key, row)
        self._rows.append(row)

    def publish(self) -> tuple[FileFacts, FileFacts]:
        """Finish and publish both files; gives the facts of tar and index. Raises CommitConflict."""
        self._write(END)
        self._file.close()
        tar = FileFacts(f"{self._name}.tar", self._offset, self._hash.hexdigest())
        table = pa.Table.from_pylist(self._rows) if self._rows else pa.table({"key": pa.array([], pa.string())})
        pq.write_table(table, self._staged_index, compression="zstd")
        index = FileFacts.of(self._staged_index, f"{self._name}.parquet")
        publish(self._staged, self._folder / tar.name)
        publish(self._staged_index, self._folder / index.name)
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

    def _check_fields(self, key: str, row: Mapping[str, Scalar]) -> None:
        # Readers infer a schema from the first samples: an int there and 0.5 later reads as 0.
        if not self._rows:
            return
        first = self._rows[0]
        if row.keys() != first.keys():
            raise ShardError(f"{key}: fields differ from the first sample's by {sorted(row.keys() ^ first.keys())}")
        for name, value in row.items():
            if type(value) is not type(first[name]):
                expected = type(first[name]).__name__
                raise ShardError(
                    f"{key}: field {name!r} is {type(value).__name__}, and was {expected} in the first sample"
                )
