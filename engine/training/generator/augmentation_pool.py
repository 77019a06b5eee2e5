"""The training pool: world images at the training size and changed copies of them, with their measured attributes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.data.splits import Splits
from engine.errors import DataError
from engine.training.generator.generator_spec import PoolSpec
from engine.training.generator.image_attributes import Thresholds, measure

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class WorldImages:
    """The decoded images of the world split.

    images: RGB uint8 (N, size, size, 3). labels: (N,). digests: sha256 hex, sorted. generation: the highest of all.
    """

    images: Image
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    digests: tuple[str, ...]
    generation: int = 0


@dataclass(frozen=True)
class AugmentationPool:
    """World images and changed copies of them. sources: (N,), the index of each image's world image."""

    images: Image
    labels: NDArray[np.int64]
    sources: NDArray[np.int64]
    words: tuple[dict[str, str], ...]
    thresholds: Thresholds


def load_world(splits: Splits, size: int) -> WorldImages:
    """Decode the world split at the training size, in the order of digests. Raises DataError for an empty class."""
    if 0 in splits.counts("world"):
        missing = [name for name, count in zip(splits.classes, splits.counts("world"), strict=True) if count == 0]
        raise DataError(f"the world split has no image of {missing}: give `data.splits.world` a larger share")
    ordered = sorted(splits.world, key=lambda image: image.digest)
    return WorldImages(
        images=np.stack([resize(image.pixels(), size) for image in ordered]),
        labels=np.array([image.label for image in ordered], dtype=np.int64),
        classes=splits.classes,
        digests=tuple(image.digest for image in ordered),
        generation=max(image.generation for image in ordered),
    )


def resize(rgb: Image, size: int) -> Image:
    """Resize an RGB uint8 image (H, W, 3) to (size, size, 3)."""
    method = cv2.INTER_AREA if min(rgb.shape[:2]) > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (size, size), interpolation=method), dtype=np.uint8)


def make_pool(world: WorldImages, attributes: Sequence[str], spec: PoolSpec, seed: int) -> AugmentationPool:
    """Make `spec.copies` copies of each image: copy 0 is the image itself, the others are changed."""
    images = [
        change(image, spec, np.random.default_rng([seed, index, copy])) if copy else image
        for index, image in enumerate(world.images)
        for copy in range(spec.copies)
    ]
    labels, sources = (np.repeat(values, spec.copies) for values in (world.labels, np.arange(len(world.images))))
    values = [measure(image, attributes) for image in images]
    thresholds = Thresholds.from_values(values, labels.tolist(), len(world.classes))
    words = tuple(thresholds.words(*pair) for pair in zip(values, labels.tolist(), strict=True))
    return AugmentationPool(np.stack(images), labels, sources, words, thresholds)


def change(image: Image, spec: PoolSpec, rng: np.random.Generator) -> Image:
    """Apply a small affine change, a thinner or bolder stroke, a lower contrast and a mirror image."""
    rotation, shear, width, height, right, down, stroke = rng.uniform(-1, 1, size=7)
    width, height = 1 + width * spec.scale, 1 + height * spec.scale
    matrix = _affine(image.shape[0], rotation * spec.rotation, shear * spec.shear, width, height)
    matrix[:, 2] += (right * spec.shift, down * spec.shift)
    border = cv2.BORDER_CONSTANT if spec.border == "black" else cv2.BORDER_REFLECT_101
    moved = cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=border)
    kernel = np.ones((3, 3), np.uint8)
    extreme = cv2.dilate(moved, kernel) if stroke > 0 else cv2.erode(moved, kernel)
    share = abs(stroke) * spec.stroke
    factor = float(rng.uniform(spec.faintest, 1.0)) if rng.random() < 0.5 else 1.0
    drawn = (moved * (1 - share) + extreme * share) * factor
    changed: Image = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return changed[:, ::-1] if rng.random() < spec.flip else changed


def _affine(side: int, degrees: float, shear: float, width: float, height: float) -> NDArray[np.float64]:
    """Return a (2, 3) matrix about the centre: scale, then shear, then rotation."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([width, height])
    centre = np.full(2, (side - 1) / 2)
    return np.hstack([linear, (centre - linear @ centre)[:, None]])
