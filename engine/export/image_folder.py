"""A folder per class, as torchvision's ImageFolder and the hub's `imagefolder` read it."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from engine.data.class_folders import file_name, folder_names
from engine.export.header import Header
from shards.sample import Sample

# A hub client infers each split's types from its values, and refuses splits that differ: so there are no nulls.
_LACKING = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0, pa.bool_(): False}


def write_imagefolder(folder: Path, samples: Iterable[Sample], header: Header) -> None:
    """Write `folder/<class>/KEY.<format>`, the bytes as stored, and `metadata.jsonl`: file_name and every json field.

    Every class has a folder, also where it has no image: readers number the folders that they find, and would call
    the next class by its label.
    """
    names = folder_names(header.classes)
    for name in names:
        (folder / name).mkdir()
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for sample in samples:
            path = f"{names[sample.label]}/{file_name(sample)}"
            (folder / path).write_bytes(sample.image)
            known = {field.name: sample.meta.get(field.name, _LACKING.get(field.type)) for field in header.fields}
            file.write(json.dumps({"file_name": path} | known, ensure_ascii=False) + "\n")
