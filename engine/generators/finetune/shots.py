"""The images of a training, real and prior: pixels, what they show, and how a step sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from engine.errors import DataError, SpecError
from engine.generators.finetune.spec import FinetuneSpec
from engine.generators.training.seeds import numpy_rng
from engine.sources import RealImage, Splits
from shards.codec import Pixels


@dataclass(frozen=True)
class Shot:
    """One image. pixels: uint8 (height, width, 3), the shorter side being the training size. original: its own height
    and width, before."""

    pixels: Pixels
    prompt: str
    original: tuple[int, int]


@dataclass(frozen=True)
class View:
    """A shot as one step sees it. pixels: uint8 (size, size, 3). ids: SDXL's size conditions (Podell et al., 2023):
    original height and width, top and left of the crop, height and width it is cut to."""

    pixels: Pixels
    prompt: str
    ids: tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Lesson:
    """What one adapter learns from. images: in the order of digests."""

    classes: tuple[str, ...]
    images: tuple[RealImage, ...]

    def told(self, split: str) -> list[dict[str, Any]]:
        """The provenance of its images, for the record."""
        return [
            {"digest": one.digest, "origin": one.origin, "class_name": one.class_name, "split": split}
            for one in self.images
        ]


def lessons(spec: FinetuneSpec, splits: Splits) -> tuple[Lesson, ...]:
    """The images of one adapter for all classes, or of one for each. Raises SpecError, DataError."""
    wanted = spec.classes or splits.classes
    if unknown := [name for name in (*wanted, *spec.names) if name not in splits.classes]:
        raise SpecError(f"classes: the data has no class {unknown[0]!r}; it has {', '.join(splits.classes)}")
    groups = [(name,) for name in wanted] if spec.per_class else [wanted]
    found = sorted(splits[spec.split], key=lambda image: image.digest)
    made = tuple(Lesson(group, tuple(one for one in found if one.class_name in group)) for group in groups)
    for name in wanted:
        if not any(one.class_name == name for lesson in made for one in lesson.images):
            raise DataError(
                f"data.splits.{spec.split}: holds no image of {name!r}; give it a larger share, or more data"
            )
    return made


def shot(pixels: Pixels, prompt: str, size: int) -> Shot:
    """Bring the shorter side to the training size: cubic when it grows, averaged over areas when it shrinks."""
    height, width = pixels.shape[:2]
    scale = size / min(height, width)
    to = (max(size, round(width * scale)), max(size, round(height * scale)))
    if to != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(pixels, to, interpolation=method), np.uint8)
    return Shot(pixels, prompt, (height, width))


def view(one: Shot, spec: FinetuneSpec, rng: np.random.Generator) -> View:
    """Cut and perhaps mirror a shot."""
    spare = [have - spec.size for have in one.pixels.shape[:2]]
    top, left = (int(rng.integers(n + 1)) if spec.crop == "random" else n // 2 for n in spare)
    pixels = one.pixels[top : top + spec.size, left : left + spec.size]
    if spec.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return View(np.ascontiguousarray(pixels), one.prompt, (*one.original, top, left, spec.size, spec.size))


def drawn(shots: Sequence[Shot], batch: int, step: int, seed: int, purpose: str) -> list[Shot]:
    """The shots of a step: each once before one comes again, in orders that follow from seed and purpose."""
    found = []
    for place in range(step * batch, (step + 1) * batch):
        turn, at = divmod(place, len(shots))
        found.append(shots[numpy_rng(seed, purpose, turn).permutation(len(shots))[at]])
    return found
