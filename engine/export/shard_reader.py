"""Reading of a run or of a folder of shards as a whole: its classes, its fields, and its samples as they are stored."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import SpecError
from engine.run.run import load_run
from shards.errors import ShardError
from shards.sample import Sample
from shards.storage.manifest import read_index_rows

_STORAGE_COLUMNS = {"image_format"} | {
    f"{member}_{field}" for member in ("image", "cls", "json", "txt", "mask") for field in ("offset", "size")
}


@dataclass(frozen=True)
class ShardFolder:
    """A folder of shards, its classes in label order, and the unfinished units of the run that it belongs to."""

    folder: Path
    classes: tuple[str, ...]
    unfinished_units: int = 0


def open_shard_folder(folder: Path) -> ShardFolder:
    """Return the shards of a run, or of a folder that has a card. Raises SpecError if it is neither."""
    if (folder / "spec.yaml").is_file():
        run = load_run(folder)
        return ShardFolder(folder / "shards", run.context.plan.classes, len(run.pending()))
    card = folder / "_info.json"
    try:
        return ShardFolder(folder, tuple(json.loads(card.read_text(encoding="utf-8"))["classes"]))
    except OSError:
        raise SpecError(
            f"{folder}: neither a run (spec.yaml) nor a folder of shards with its card (_info.json)"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{card}: damaged ({error}); run the command that wrote it again") from None


def unified_schema(tars: Iterable[Path]) -> pa.Schema:
    """Return every json field of these shards with its type, in order of appearance. Raises ShardError."""
    schemas = [pq.read_schema(tar.with_suffix(".parquet")) for tar in tars]
    try:
        columns = pa.unify_schemas([schema.remove_metadata() for schema in schemas])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ShardError(f"the shards' fields have different types: {str(error).splitlines()[0]}") from None
    return pa.schema([column for column in columns if column.name not in _STORAGE_COLUMNS])


def read_samples(tar: Path, rows: Iterable[int]) -> Iterator[Sample]:
    """Yield the samples of these rows of a shard's index, as stored. Raises ShardError if the tar ends early."""
    index = read_index_rows(tar)
    try:
        with tar.open("rb") as file:
            for row in rows:
                yield _read_sample(file, index[row])
    except FileNotFoundError:
        raise ShardError(f"{tar}: missing, though its stats file says that it is finished; run verify") from None


def _read_sample(file: BinaryIO, row: dict[str, Any]) -> Sample:
    meta = {name: value for name, value in row.items() if name not in _STORAGE_COLUMNS}
    mask = _read_member(file, row, "mask") if "mask_size" in row else None
    return Sample(row["key"], _read_member(file, row, "image"), row["image_format"], row["label"], meta, mask)


def _read_member(file: BinaryIO, row: dict[str, Any], name: str) -> bytes:
    file.seek(row[f"{name}_offset"])
    data = file.read(row[f"{name}_size"])
    if len(data) < row[f"{name}_size"]:
        raise ShardError(f"{file.name}, sample {row['key']!r}: the file ends early; run verify")
    return data
