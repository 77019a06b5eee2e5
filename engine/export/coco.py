"""COCO's format for instance segmentation (cocodataset.org, "Data format"), from masks of class indices."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.data.class_folders import file_name
from engine.errors import SpecError
from engine.export.header import Header
from shards.codec import CorruptImage, decode_mask
from shards.errors import ShardError
from shards.sample import Sample

Mask = NDArray[np.uint8]


def write_coco(folder: Path, samples: Iterable[Sample], header: Header, background: str | None = None) -> None:
    """Write `folder/images/KEY.<format>` and `folder/annotations.json`: an annotation for each connected region of a
    mask class, as uncompressed RLE, so that the annotations of an image give its mask back exactly.

    background: a mask class that gets no annotations. A category's id is its index in the mask plus 1, for detectors
    keep 0 for themselves. Raises SpecError where there are no masks, or no such class.
    """
    rest = iter(samples)
    first = next(rest)
    if first.mask is None:
        raise SpecError(f"--to coco: sample {first.key} has no mask, only a class; use --to imagefolder or parquet")
    (folder / "images").mkdir()
    classes = str(first.meta["mask_classes"])
    categories = _categories(classes, background)
    images, ids = [], count(1)
    with (folder / "annotations.json").open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)}, "annotations": [')
        for number, sample in enumerate(chain([first], rest), 1):
            mask = _mask(sample, classes)
            name = file_name(sample)
            (folder / "images" / name).write_bytes(sample.image)
            height, width = mask.shape
            facts = {"id": number, "file_name": name, "width": width, "height": height, "metadata": sample.meta}
            images.append(json.dumps(facts, ensure_ascii=False))
            for region in _regions(mask, categories):
                found = {"id": next(ids), "image_id": number, **region}
                file.write(("\n" if found["id"] == 1 else ",\n") + json.dumps(found))
        file.write('\n], "images": [\n' + ",\n".join(images) + "\n]}\n")


def _categories(classes: str, background: str | None) -> list[dict[str, Any]]:
    names = list(json.loads(classes))
    if background is not None and background not in names:
        raise SpecError(f"--background {background}: no mask class; there are {', '.join(names)}")
    return [
        {"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(names) if name != background
    ]


def _mask(sample: Sample, classes: str) -> Mask:
    if sample.mask is None or sample.meta["mask_classes"] != classes:
        raise ShardError(f"{sample.key}: no mask, or one of other classes than the first sample's; export such apart")
    try:
        mask = decode_mask(sample.mask)
    except CorruptImage as error:
        raise ShardError(f"{sample.key}: {error}; run verify") from None
    if mask.max() >= len(json.loads(classes)):
        raise ShardError(f"{sample.key}: mask class {mask.max()} is none of {classes}; run verify")
    return mask


def _regions(mask: Mask, categories: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """An annotation, but for its ids, of each 8-connected region of each category."""
    present = set(np.unique(mask).tolist())
    for category in categories:
        index = category["id"] - 1
        if index not in present:
            continue
        _, labels, boxes, _ = cv2.connectedComponentsWithStats((mask == index).astype(np.uint8), connectivity=8)
        for region, (left, top, width, height, area) in enumerate(boxes.tolist()[1:], 1):
            yield {
                "category_id": category["id"],
                "iscrowd": 0,
                "area": area,
                "bbox": [left, top, width, height],
                "segmentation": _rle(labels[:, left : left + width] == region, left, mask.shape),
            }


def _rle(columns: NDArray[np.bool_], left: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Lengths of runs of 0 and 1 in turn, column by column, of a region that lies in these columns from `left` on."""
    edged = np.pad(columns.ravel(order="F"), 1)
    edges = np.flatnonzero(edged[1:] != edged[:-1]) + left * shape[0]
    counts = np.diff(edges, prepend=0, append=shape[0] * shape[1])
    return {"size": list(shape), "counts": np.trim_zeros(counts, "b").tolist()}
