"""Small folders of shards whose pixels hold the number of the sample."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shards import Sample, ShardWriter
from shards.codec import encode_mask, encode_rgb
from shards.sample import Scalar
from shards.storage.open_store import open_store


def write(
    folder: Path,
    prefix: str,
    count: int,
    synthetic: bool,
    *,
    per_shard: int = 8,
    classes: Mapping[int, str] | None = None,
    mask: bool = False,
) -> Path:
    """Write shards of 4x4 images. The colour is the number of the sample, and the label is that number modulo 3."""
    for start in range(0, count, per_shard):
        name = f"{start // per_shard:05d}"
        with ShardWriter(folder, name) as writer:
            for number in range(start, min(start + per_shard, count)):
                writer.add(_sample(prefix, number, synthetic, classes or {}, mask))
            files = writer.publish()
        open_store(folder).publish_json(f"{name}_stats.json", {"count": 0, "files": [file.as_json() for file in files]})
    return folder


def _sample(prefix: str, number: int, synthetic: bool, classes: Mapping[int, str], mask: bool) -> Sample:
    key, label = f"{prefix}{number:04d}", number % 3
    meta: dict[str, Scalar] = {"key": key, "label": label, "synthetic": synthetic, "prompt": f"number {number}"}
    if classes:
        meta["class_name"] = classes[label]
    pixels = np.full((4, 4, 3), number, np.uint8)
    drawn = encode_mask(np.full((4, 4), number, np.uint8)) if mask else None
    return Sample(key, encode_rgb(pixels, "png"), "png", label, meta, drawn)
