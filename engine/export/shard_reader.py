"""A run, or a folder of shards, read as a whole: its classes, its fields, and every sample as it is stored."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import SpecError
from shards.errors import ShardError
from shards.sample import Sample
from shards.storage.manifest import read_index_rows

_PLACES = {"image_format"} | {
    f"{member}_{fact}" for member in ("image", "cls", "json", "txt", "mask") for fact in ("offset", "size")
}


@dataclass(frozen=True)
class ShardFolder:
    """A folder of shards.

    classes: names in label order. missing: how many units of its run are not finished.
    """

    folder: Path
    classes: tuple[str, ...]
    missing: int = 0


def open_shard_folder(folder: Path) -> ShardFolder:
    """The shards of a run, or of a folder with its card. Raises SpecError where it is neither."""
    if (folder / "spec.yaml").is_file():
        from engine.run.run import load_run

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
    """Every json field of these shards with its type, in the order in which they appear."""
    schemas = [pq.read_schema(tar.with_suffix(".parquet")) for tar in tars]
    try:
        found = pa.unify_schemas([schema.remove_metadata() for schema in schemas])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ShardError(f"the shards' fields have different types: {str(error).splitlines()[0]}") from None
    return pa.schema([field for field in found if field.name not in _PLACES])


def read_samples(tar: Path, rows: Iterable[int]) -> Iterator[Sample]:
    """The samples of these rows of a shard's index, as they are stored. Raises ShardError for a tar cut short."""
    index = read_index_rows(tar)
    try:
        with tar.open("rb") as file:
            for row in rows:
                yield _sample(file, index[row])
    except FileNotFoundError:
        raise ShardError(f"{tar}: missing, though its stats file says that it is finished; run verify") from None


def _sample(file: BinaryIO, row: dict[str, Any]) -> Sample:
    meta = {name: value for name, value in row.items() if name not in _PLACES}
    mask = _member(file, row, "mask") if "mask_size" in row else None
    return Sample(row["key"], _member(file, row, "image"), row["image_format"], row["label"], meta, mask)


def _member(file: BinaryIO, row: dict[str, Any], name: str) -> bytes:
    file.seek(row[f"{name}_offset"])
    data = file.read(row[f"{name}_size"])
    if len(data) < row[f"{name}_size"]:
        raise ShardError(f"{file.name}, sample {row['key']!r}: the file ends early; run verify")
    return data
