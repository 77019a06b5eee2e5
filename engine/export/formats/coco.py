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
from engine.export.export_format import ExportSchema
from shards.codec import CorruptImage, decode_mask
from shards.errors import ShardError
from shards.sample import Sample

Mask = NDArray[np.uint8]


class CocoWriter:
    """A writer of `folder/images/KEY.<format>` and `folder/annotations.json`.

    Each connected region of a mask class gets an annotation with uncompressed RLE, so the annotations of an image give
    its mask back exactly. A category's id is its index in the mask plus 1, because detectors reserve 0.
    """

    data_files = None
    background: str | None = None
    """The mask class that gets no annotations."""

    def write(self, folder: Path, samples: Iterable[Sample], schema: ExportSchema) -> None:
        """Write a split. Raises SpecError if there are no masks or no such background, ShardError for a bad mask."""
        rest = iter(samples)
        first = next(rest)
        if first.mask is None:
            raise SpecError(f"--to coco: sample {first.key} has no mask, only a class; choose a format of whole images")
        (folder / "images").mkdir()
        classes = str(first.meta["mask_classes"])
        categories = _categories(classes, self.background)
        images, ids = [], count(1)
        with (folder / "annotations.json").open("w", encoding="utf-8") as file:
            file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)}, "annotations": [')
            for image_id, sample in enumerate(chain([first], rest), 1):
                mask = _decode(sample, classes)
                name = file_name(sample)
                (folder / "images" / name).write_bytes(sample.image)
                height, width = mask.shape
                image = {"id": image_id, "file_name": name, "width": width, "height": height, "metadata": sample.meta}
                images.append(json.dumps(image, ensure_ascii=False))
                for region in _regions(mask, categories):
                    annotation = {"id": next(ids), "image_id": image_id, **region}
                    file.write(("\n" if annotation["id"] == 1 else ",\n") + json.dumps(annotation))
            file.write('\n], "images": [\n' + ",\n".join(images) + "\n]}\n")


def _categories(classes: str, background: str | None) -> list[dict[str, Any]]:
    names = list(json.loads(classes))
    if background is not None and background not in names:
        raise SpecError(f"--background {background}: no such mask class; use one of {', '.join(names)}")
    return [
        {"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(names) if name != background
    ]


def _decode(sample: Sample, classes: str) -> Mask:
    if sample.mask is None or sample.meta["mask_classes"] != classes:
        raise ShardError(f"{sample.key}: no mask, or other mask classes than the first sample; export them separately")
    try:
        mask = decode_mask(sample.mask)
    except CorruptImage as error:
        raise ShardError(f"{sample.key}: {error}; run verify") from None
    if mask.max() >= len(json.loads(classes)):
        raise ShardError(f"{sample.key}: mask class {mask.max()} is not in {classes}; run verify")
    return mask


def _regions(mask: Mask, categories: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield an annotation, without its ids, for each 8-connected region of each category."""
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
                "segmentation": run_lengths(labels[:, left : left + width] == region, left, mask.shape),
            }


def run_lengths(columns: NDArray[np.bool_], left: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return COCO's RLE of a region: lengths of alternating runs of 0 and 1, column by column.

    columns: (height, width) of the region's bounding columns, which begin at column `left` of a mask of this shape.
    """
    padded = np.pad(columns.ravel(order="F"), 1)
    edges = np.flatnonzero(padded[1:] != padded[:-1]) + left * shape[0]
    counts = np.diff(edges, prepend=0, append=shape[0] * shape[1])
    return {"size": list(shape), "counts": np.trim_zeros(counts, "b").tolist()}
