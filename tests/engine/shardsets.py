"""Small folders of shards, written by the product's shard writer."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.data.real_shards import write_shard
from shards.codec import Pixels, encode_mask, encode_rgb
from shards.sample import Sample, Scalar
from shards.writing.dataset_card import DatasetCard, write_card

PALETTE = {"water": (0, 0, 0), "boat": (255, 0, 0), "größe": (0, 255, 0)}


def picture(number: int, size: int = 8) -> Pixels:
    return np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)


def mask_of(number: int, shape: tuple[int, int] = (9, 12)) -> Pixels:
    """Return a mask of noise in blocks, with many regions, some at an edge and some with holes."""
    coarse = np.random.default_rng(number).integers(0, len(PALETTE), shape, dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)


def sample(key: str, label: int, class_name: str, number: int, form: str = "png", **fields: Scalar) -> Sample:
    meta: dict[str, Scalar] = {
        "key": key,
        "label": label,
        "class_name": class_name,
        "synthetic": True,
        "generation": 1,
        "prompt": f'a {class_name}, "{number}"',
        "model": "tiny",
        "seed": 2**62 + number,
        "score": number / 2,
    }
    return Sample(key, encode_rgb(picture(number), form), form, label, meta | fields)


def masked(key: str, number: int) -> Sample:
    mask = mask_of(number)
    plain = sample(key, 0, "harbour", number, mask_classes=json.dumps(PALETTE, ensure_ascii=False))
    image = encode_rgb(np.zeros((*mask.shape, 3), np.uint8), "png")
    return Sample(key, image, "png", 0, plain.meta, encode_mask(mask))


def make_shards(folder: Path, classes: Sequence[str], per_shard: Sequence[Sequence[Sample]]) -> Path:
    for number, samples in enumerate(per_shard):
        write_shard(folder, f"{number:05d}", samples, facts={"license": "cc0-1.0"})
    write_card(folder, DatasetCard("test", "Of a test.", "cc0-1.0", ("synthetic",), classes))
    return folder


def plain_shards(folder: Path, classes: Sequence[str], per_class: int = 10, form: str = "png") -> Path:
    """Write two shards in which the classes alternate."""
    numbers = range(per_class * len(classes))
    samples = [sample(f"{n:09d}", n % len(classes), classes[n % len(classes)], n, form) for n in numbers]
    half = len(samples) // 2 + 1
    return make_shards(folder, classes, [samples[:half], samples[half:]])
