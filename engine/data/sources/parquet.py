"""Parquet files as image data sets on the hub have them: a struct column {bytes, path} and an integer label."""

import json
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from engine.config.data_spec import SOURCES, FileSourceSettings
from engine.data.open_source import with_held_out
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError


class ParquetSettings(FileSourceSettings):
    """Settings of the source `parquet`: one file, or a folder of them."""

    source: Literal["parquet"]
    image_column: str = "img"
    """Column of the encoded image."""
    label_column: str = "label"
    """Column of the class index."""


def open_parquet(settings: ParquetSettings) -> RealSet:
    """Read the files of both parts. Raises DataError."""
    return with_held_out(settings, lambda path: _open(path, settings))


def _open(path: str, spec: ParquetSettings) -> RealSet:
    """Read one file, or a folder's *.parquet. Classes are named by the `huggingface` metadata, or by their labels."""
    files = sorted(Path(path).glob("*.parquet")) if Path(path).is_dir() else [Path(path)]
    if not files or not files[0].is_file():
        raise DataError(f"data.path: {path} is no parquet file and no folder of them")
    images: list[RealImage] = []
    names: tuple[str, ...] | None = None
    for file in files:
        table = _read(file, spec)
        names = names or _class_names(table.schema, spec.label_column)
        data = table.column(spec.image_column).combine_chunks().field("bytes")
        labels = table.column(spec.label_column).to_pylist()
        for row, label in enumerate(labels):
            if label is None or label < 0 or (names and label >= len(names)):
                raise DataError(f"{file}[{row}]: label {label} is not an index into {len(names or ())} classes")
            images.append(RealImage(label, "", f"{file}[{row}]", partial(_bytes, data, row)))
    classes = names or tuple(str(label) for label in range(1 + max(image.label for image in images)))
    named = (RealImage(i.label, classes[i.label], i.origin, i.read) for i in images)
    return RealSet(classes, tuple(named))


def _read(file: Path, spec: ParquetSettings) -> pa.Table:
    try:
        schema = pq.read_schema(file)
        _check_columns(file, schema, spec)
        return pq.read_table(file, columns=[spec.image_column, spec.label_column])
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: {str(error).splitlines()[0]}") from None


def _check_columns(file: Path, schema: pa.Schema, spec: ParquetSettings) -> None:
    for key, column in (("image_column", spec.image_column), ("label_column", spec.label_column)):
        if column not in schema.names:
            raise DataError(f"{file}: no column {column!r}; set data.{key} to one of: {', '.join(schema.names)}")
    kind = schema.field(spec.image_column).type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(f"{file}: column {spec.image_column!r} is {kind}, and must be a struct with `bytes`")
    kind = schema.field(spec.label_column).type
    if not pa.types.is_integer(kind):
        raise DataError(f"{file}: column {spec.label_column!r} is {kind}, and must be an integer")


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _bytes(column: pa.Array, row: int) -> bytes:
    return bytes(column[row].as_py() or b"")


SOURCES.register(ParquetSettings, open_parquet)
