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
from engine.export.header import Header
from shards.sample import Sample

_FILE_BYTES = 500_000_000
_GROUP_BYTES = 32_000_000
_ROW_BYTES = 1_000  # of the fields, roughly, so that a group of tiny images is bounded as well
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_HUB_TYPES = {pa.float64(): "float64"}

T = TypeVar("T")


def write_parquet(folder: Path, samples: Iterable[Sample], header: Header) -> None:
    """Write `folder/NNNNN.parquet` of at most about 500 MB each, in row groups of about 32 MB: one is in memory."""
    schema = _schema(header)
    groups = (list(group) for group in _cut(samples, _size, _GROUP_BYTES))
    files = _cut(groups, lambda group: sum(map(_size, group)), _FILE_BYTES)
    for number, file in enumerate(files):
        with pq.ParquetWriter(folder / f"{number:05d}.parquet", schema) as writer:
            for group in file:
                rows = [_row(sample, schema) for sample in group]
                writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))


def _schema(header: Header) -> pa.Schema:
    fields = [field for field in header.fields if field.name != "label"]
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(header.classes)},
    }
    columns = [("image", _IMAGE), ("label", pa.int64())]
    if "mask_classes" in header.fields.names:
        features["mask"] = {"_type": "Image"}
        columns.append(("mask", _IMAGE))
    features |= {one.name: {"_type": "Value", "dtype": _HUB_TYPES.get(one.type, str(one.type))} for one in fields}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
    return pa.schema([*columns, *((one.name, one.type) for one in fields)], metadata)


def _row(sample: Sample, schema: pa.Schema) -> dict[str, Any]:
    image = {"bytes": sample.image, "path": file_name(sample)}
    mask = None if sample.mask is None else {"bytes": sample.mask, "path": f"{sample.key}.mask.png"}
    row = {**sample.meta, "image": image, "label": sample.label, "mask": mask}
    return {name: row.get(name) for name in schema.names}


def _size(sample: Sample) -> int:
    return len(sample.image) + len(sample.mask or b"") + _ROW_BYTES


def _cut(items: Iterable[T], size: Callable[[T], int], limit: int) -> Iterator[Iterator[T]]:
    """Consecutive stretches of about `limit` in size, each to be used up before the next is asked for."""

    def numbered() -> Iterator[tuple[int, T]]:
        before = 0
        for item in items:
            yield before // limit, item
            before += size(item)

    for _, stretch in groupby(numbered(), itemgetter(0)):
        yield (item for _, item in stretch)
