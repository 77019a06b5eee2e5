"""Real and synthetic shards of scikit-learn's digits at 16 pixels; the synthetic images are real images with noise."""

from functools import cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from engine.data.real_shards import write_shard
from engine.data.sources.digits import CLASSES
from engine.training.classifier.training_data import TrainData
from shards.codec import encode_mask, encode_rgb
from shards.sample import Sample

SIZE = 16
_PARTS = {"real": (0, 200), "synthetic": (200, 500), "validation": (500, 700), "test": (700, 800)}


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return np.repeat(np.kron(grey, np.ones((1, 2, 2), np.uint8))[..., None], 3, axis=3), digits.target


def write_digits(folder: Path, masks: bool = False, without_class: int | None = None) -> TrainData:
    """Write four folders of shards.

    masks:         give every image a mask in which bright pixels have the class 1.
    without_class: the class that gets no synthetic images.
    """
    for part in _PARTS:
        _write_part(folder / part, part, masks, without_class if part == "synthetic" else None)
    places = {part: str(folder / part) for part in _PARTS}
    return TrainData(**places, classes=("paper", "ink") if masks else CLASSES)


def _write_part(place: Path, part: str, masks: bool = False, without_class: int | None = None) -> None:
    """Write the shards of one part, of 128 images each, without one class."""
    images, labels = _digits()
    taken = [number for number in range(*_PARTS[part]) if labels[number] != without_class]
    samples = [_sample(part, number, images[number], int(labels[number]), masks) for number in taken]
    for number in range(0, len(samples), 128):
        write_shard(place, f"{number // 128:05d}", samples[number : number + 128])


def _sample(part: str, number: int, image: np.ndarray, label: int, masks: bool) -> Sample:
    key = f"{part}{number:05d}"
    synthetic = part == "synthetic"
    mask = encode_mask((image[..., 0] > 127).astype(np.uint8)) if masks else None
    if synthetic:
        noise = np.random.default_rng(number).normal(0, 30, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    meta = {
        "key": key,
        "label": label,
        "class_name": CLASSES[label],
        "synthetic": synthetic,
        "prompt": "",
        "digest": key,
    }
    return Sample(key, encode_rgb(image, "png"), "png", label, meta, mask)
