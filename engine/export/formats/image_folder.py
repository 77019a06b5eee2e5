"""A folder per class, as torchvision's ImageFolder and the hub's `imagefolder` read it."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from engine.data.class_folders import file_name, folder_names
from engine.export.export_format import ExportSchema
from shards.sample import Sample

# A hub client infers each split's types from its values and refuses splits that differ, so no value may be null.
_MISSING_VALUES = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0, pa.bool_(): False}


class ImageFolderWriter:
    """A writer of `folder/<class>/KEY.<format>`, the bytes as stored, and `metadata.jsonl` with all json fields."""

    data_files = "**"

    def write(self, folder: Path, samples: Iterable[Sample], schema: ExportSchema) -> None:
        """Write a split."""
        names = folder_names(schema.classes)
        # Also for classes without images: readers number the folders that they find.
        for name in names:
            (folder / name).mkdir()
        with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
            for sample in samples:
                path = f"{names[sample.label]}/{file_name(sample)}"
                (folder / path).write_bytes(sample.image)
                row = {
                    field.name: sample.meta.get(field.name, _MISSING_VALUES.get(field.type)) for field in schema.fields
                }
                file.write(json.dumps({"file_name": path} | row, ensure_ascii=False) + "\n")
