"""The images of a fine-tuning, real and prior: selected, scaled, and cropped for a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.data.masks import Mask, colours_of
from engine.data.real_image import RealImage
from engine.data.splits import Splits
from engine.errors import DataError, SpecError
from engine.generators.conditioning.warp import draw_warp
from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.generators.generator import Request
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import derive_seed, numpy_rng
from engine.training.training_loop import LogLine
from engine.types import Prompt
from shards.codec import Pixels, decode_rgb, encode_rgb


@dataclass(frozen=True)
class CachedImage:
    """An image whose shorter side is the training size. original: height and width before scaling."""

    pixels: Pixels
    prompt: str
    original: tuple[int, int]
    mask: Mask | None = None


@dataclass(frozen=True)
class Crop:
    """A square of an image, for one step, and its control image.

    ids: SDXL's size conditions (Podell et al., 2023): original height and width, the crop's top, left, height, width.
    """

    pixels: Pixels
    prompt: str
    ids: tuple[int, int, int, int, int, int]
    control: Pixels | None = None


@dataclass(frozen=True)
class FinetuneTask:
    """The classes and images that one adapter learns from. images: in the order of digests."""

    classes: tuple[str, ...]
    images: tuple[RealImage, ...]


def finetune_tasks(spec: FinetuneSpec, splits: Splits) -> tuple[FinetuneTask, ...]:
    """Return the task of one adapter for all classes, or one task for each class.

    Raises SpecError for an unknown class, DataError for a class without images.
    """
    classes = spec.classes or splits.classes
    if unknown := [name for name in (*classes, *spec.names) if name not in splits.classes]:
        raise SpecError(f"classes: the data has no class {unknown[0]!r}; it has {', '.join(splits.classes)}")
    groups = [(name,) for name in classes] if spec.per_class else [classes]
    images = sorted(splits[spec.split], key=lambda image: image.digest)
    for name in classes:
        if not any(image.class_name == name for image in images):
            raise DataError(
                f"data.splits.{spec.split}: holds no image of {name!r}; give it a larger share, or more data"
            )
    return tuple(FinetuneTask(group, tuple(image for image in images if image.class_name in group)) for group in groups)


def cache_image(pixels: Pixels, prompt: str, size: int, mask: Mask | None = None) -> CachedImage:
    """Scale the shorter side to the training size: cubic to enlarge, by averages over areas to shrink."""
    height, width = pixels.shape[:2]
    scale = size / min(height, width)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    if target != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(pixels, target, interpolation=method), np.uint8)
    if mask is not None:
        mask = np.asarray(cv2.resize(mask, target, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return CachedImage(pixels, prompt, (height, width), mask)


def crop_image(image: CachedImage, spec: FinetuneSpec, rng: np.random.Generator) -> Crop:
    """Cut out a square and mirror it at random. For a ControlNet, also warp it with its mask, or drop its prompt."""
    margins = [side - spec.size for side in image.pixels.shape[:2]]
    top, left = (int(rng.integers(n + 1)) if spec.crop == "random" else n // 2 for n in margins)
    square = np.s_[top : top + spec.size, left : left + spec.size]
    pixels, mask = image.pixels[square], None if image.mask is None else image.mask[square]
    if spec.flip and rng.random() < 0.5:
        pixels, mask = pixels[:, ::-1], None if mask is None else mask[:, ::-1]
    ids = (*image.original, top, left, spec.size, spec.size)
    if spec.control is None or mask is None:
        return Crop(np.ascontiguousarray(pixels), image.prompt, ids)
    pixels, mask = np.ascontiguousarray(pixels), np.ascontiguousarray(mask)
    if spec.control.warp is not None:
        warp = draw_warp(spec.control.warp, rng, spec.size, spec.size)
        pixels, mask = warp.image(pixels), warp.mask(mask)
    prompt = "" if rng.random() < spec.control.drop_prompt else image.prompt
    return Crop(pixels, prompt, ids, colours_of(spec.palette)[mask])


def draw_images(images: Sequence[CachedImage], batch: int, number: int, seed: int, purpose: str) -> list[CachedImage]:
    """Return the images of a forward pass by its number. Every epoch is a permutation, by seed and purpose."""
    batch_images = []
    for position in range(number * batch, (number + 1) * batch):
        epoch, place = divmod(position, len(images))
        batch_images.append(images[numpy_rng(seed, purpose, epoch).permutation(len(images))[place]])
    return batch_images


def prompt_request(text: str, seed: int = 0) -> Request:
    """Return the request for an image of a prompt, of no class."""
    return Request(Prompt(text, "", (), "prior"), 0, "", seed)


def make_prior(
    pipe: DiffusersPipeline, spec: FinetuneSpec, prompts: Sequence[str], folder: Path, log: LogLine
) -> list[CachedImage]:
    """Make the prior's images of each prompt, except those that the folder holds, and return them all."""
    if spec.prior is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    requests = {
        folder / f"{kind}-{number:05d}.png": prompt_request(text, derive_seed(spec.seed, "prior", text, number))
        for kind, text in enumerate(prompts)
        for number in range(spec.prior.images)
    }
    missing = [path for path in requests if not path.exists()]
    if missing:
        log(f"prior: making {len(missing)} of {len(requests)} images")
    size = spec.prior.batch_size
    for start in range(0, len(missing), size):
        paths = missing[start : start + size]
        padded = [requests[path] for path in paths + paths[-1:] * (size - len(paths))]
        images = pipe.generate(padded, **pipe.encode_prompts(padded)).images().pixels
        for path, pixels in zip(paths, images, strict=False):
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(encode_rgb(pixels, "png"))
            temporary.replace(path)
    return [
        cache_image(decode_rgb(path.read_bytes()), request.prompt.text, spec.size) for path, request in requests.items()
    ]
