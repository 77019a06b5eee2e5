"""Parquet files as image data sets on the hub have them: an image struct {bytes, path}, a ClassLabel, all fields."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data.class_folders import file_name
from engine.export.export_format import ExportSchema
from shards.sample import Sample

_FILE_BYTES = 500_000_000
_GROUP_BYTES = 32_000_000
_ROW_BYTES = 1_000  # roughly those of the json fields, so that a group of tiny images is bounded as well
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_HUB_TYPES = {pa.float64(): "float64"}

T = TypeVar("T")


class ParquetFilesWriter:
    """A writer of `folder/NNNNN.parquet` of at most about 500 MB each. One row group of about 32 MB is in memory."""

    data_files = "*.parquet"

    def write(self, folder: Path, samples: Iterable[Sample], schema: ExportSchema) -> None:
        """Write a split."""
        columns = _columns(schema)
        groups = (list(group) for group in _chunks(samples, _size, _GROUP_BYTES))
        files = _chunks(groups, lambda group: sum(map(_size, group)), _FILE_BYTES)
        for number, file in enumerate(files):
            with pq.ParquetWriter(folder / f"{number:05d}.parquet", columns) as writer:
                for group in file:
                    rows = [_row(sample, columns) for sample in group]
                    writer.write_table(pa.Table.from_pylist(rows, columns), row_group_size=len(rows))


def _columns(schema: ExportSchema) -> pa.Schema:
    fields = [field for field in schema.fields if field.name != "label"]
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(schema.classes)},
    }
    columns = [("image", _IMAGE), ("label", pa.int64())]
    if "mask_classes" in schema.fields.names:
        features["mask"] = {"_type": "Image"}
        columns.append(("mask", _IMAGE))
    for field in fields:
        features[field.name] = {"_type": "Value", "dtype": _HUB_TYPES.get(field.type, str(field.type))}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
    return pa.schema([*columns, *((field.name, field.type) for field in fields)], metadata)


def _row(sample: Sample, columns: pa.Schema) -> dict[str, Any]:
    image = {"bytes": sample.image, "path": file_name(sample)}
    mask = None if sample.mask is None else {"bytes": sample.mask, "path": f"{sample.key}.mask.png"}
    row = {**sample.meta, "image": image, "label": sample.label, "mask": mask}
    return {name: row.get(name) for name in columns.names}


def _size(sample: Sample) -> int:
    return len(sample.image) + len(sample.mask or b"") + _ROW_BYTES


def _chunks(items: Iterable[T], size: Callable[[T], int], limit: int) -> Iterator[Iterator[T]]:
    """Yield consecutive items in chunks of about `limit` in size. Each chunk must be consumed before the next."""

    def numbered() -> Iterator[tuple[int, T]]:
        total = 0
        for item in items:
            yield total // limit, item
            total += size(item)

    for _, chunk in groupby(numbered(), itemgetter(0)):
        yield (item for _, item in chunk)
