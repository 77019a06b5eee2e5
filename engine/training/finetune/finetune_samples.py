"""The images of a training, real and prior: pixels, what they show, and how a step sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from engine.data.splits import Splits
from engine.data.real_image import RealImage
from engine.data.masks import Mask, colours_of
from engine.errors import DataError, SpecError
from engine.generators.conditioning.warp import draw_warp
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import numpy_rng
from shards.codec import Pixels


@dataclass(frozen=True)
class CachedImage:
    """One image. pixels: uint8 (height, width, 3), the shorter side being the training size. original: its own height
    and width, before. mask: of the same size, where a ControlNet is trained."""

    pixels: Pixels
    prompt: str
    original: tuple[int, int]
    mask: Mask | None = None


@dataclass(frozen=True)
class Crop:
    """A shot as one step sees it. pixels: uint8 (size, size, 3). ids: SDXL's size conditions (Podell et al., 2023):
    original height and width, top and left of the crop, height and width it is cut to. control: what a ControlNet sees,
    in the shape of the pixels."""

    pixels: Pixels
    prompt: str
    ids: tuple[int, int, int, int, int, int]
    control: Pixels | None = None


@dataclass(frozen=True)
class FinetuneTask:
    """What one adapter learns from. images: in the order of digests."""

    classes: tuple[str, ...]
    images: tuple[RealImage, ...]

    def told(self, split: str) -> list[dict[str, Any]]:
        """The provenance of its images, for the record."""
        return [
            {"digest": one.digest, "origin": one.origin, "class_name": one.class_name, "split": split}
            for one in self.images
        ]


def finetune_tasks(spec: FinetuneSpec, splits: Splits) -> tuple[FinetuneTask, ...]:
    """The images of one adapter for all classes, or of one for each. Raises SpecError, DataError."""
    wanted = spec.classes or splits.classes
    if unknown := [name for name in (*wanted, *spec.names) if name not in splits.classes]:
        raise SpecError(f"classes: the data has no class {unknown[0]!r}; it has {', '.join(splits.classes)}")
    groups = [(name,) for name in wanted] if spec.per_class else [wanted]
    found = sorted(splits[spec.split], key=lambda image: image.digest)
    made = tuple(FinetuneTask(group, tuple(one for one in found if one.class_name in group)) for group in groups)
    for name in wanted:
        if not any(one.class_name == name for lesson in made for one in lesson.images):
            raise DataError(
                f"data.splits.{spec.split}: holds no image of {name!r}; give it a larger share, or more data"
            )
    return made


def shot(pixels: Pixels, prompt: str, size: int, mask: Mask | None = None) -> CachedImage:
    """Bring the shorter side to the training size: cubic when it grows, averaged over areas when it shrinks."""
    height, width = pixels.shape[:2]
    scale = size / min(height, width)
    to = (max(size, round(width * scale)), max(size, round(height * scale)))
    if to != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(pixels, to, interpolation=method), np.uint8)
    if mask is not None:
        mask = np.asarray(cv2.resize(mask, to, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return CachedImage(pixels, prompt, (height, width), mask)


def view(one: CachedImage, spec: FinetuneSpec, rng: np.random.Generator) -> Crop:
    """Cut and perhaps mirror a shot; for a ControlNet, change it and its mask alike, and perhaps forget its prompt."""
    spare = [have - spec.size for have in one.pixels.shape[:2]]
    top, left = (int(rng.integers(n + 1)) if spec.crop == "random" else n // 2 for n in spare)
    place = np.s_[top : top + spec.size, left : left + spec.size]
    pixels, mask = one.pixels[place], None if one.mask is None else one.mask[place]
    if spec.flip and rng.random() < 0.5:
        pixels, mask = pixels[:, ::-1], None if mask is None else mask[:, ::-1]
    ids = (*one.original, top, left, spec.size, spec.size)
    if spec.control is None or mask is None:
        return Crop(np.ascontiguousarray(pixels), one.prompt, ids)
    pixels, mask = np.ascontiguousarray(pixels), np.ascontiguousarray(mask)
    if spec.control.warp is not None:
        warp = draw_warp(spec.control.warp, rng, spec.size, spec.size)
        pixels, mask = warp.image(pixels), warp.mask(mask)
    prompt = "" if rng.random() < spec.control.drop_prompt else one.prompt
    return Crop(pixels, prompt, ids, colours_of(spec.palette)[mask])


def drawn(shots: Sequence[CachedImage], batch: int, step: int, seed: int, purpose: str) -> list[CachedImage]:
    """The shots of a step: each once before one comes again, in orders that follow from seed and purpose."""
    found = []
    for place in range(step * batch, (step + 1) * batch):
        turn, at = divmod(place, len(shots))
        found.append(shots[numpy_rng(seed, purpose, turn).permutation(len(shots))[at]])
    return found
