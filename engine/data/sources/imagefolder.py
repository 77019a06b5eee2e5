"""A folder of one folder per class, as torchvision's ImageFolder reads it; the class names are the folders'."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from engine.config.palette import Palette
from engine.data.masks import Mask, read_mask
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def open_imagefolder(path: str, place: str = "data.path") -> RealSet:
    """List PATH/<class>/**/<image>; classes in the order of their sorted names. place: the spec's key, for errors."""
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{place}: {path} is not a folder; give the one that holds a folder per class")
    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    images = tuple(
        RealImage(label, name, str(file), file.read_bytes)
        for label, name in enumerate(classes)
        for file in sorted((root / name).rglob("*"))
        if file.suffix.lower() in SUFFIXES
    )
    if not images:
        raise DataError(f"{place}: no image in {path}/<class>/; known are {', '.join(sorted(SUFFIXES))}")
    return RealSet(classes, images)


def with_masks(found: RealSet, path: str, masks: str, palette: Palette) -> RealSet:
    """The images of the folder `path` with their masks, MASKS/<class>/**/<name>.png. Raises DataError where one is
    missing."""
    images = []
    for image in found.images:
        file = Path(masks) / Path(image.origin).relative_to(path).with_suffix(".png")
        if not file.is_file():
            raise DataError(f"data.masks: {image.origin} has no mask {file}; add it, or remove the image")
        images.append(replace(image, read_mask=partial(_mask, file, palette)))
    return replace(found, images=tuple(images))


def _mask(file: Path, palette: Palette) -> Mask:
    return read_mask(file.read_bytes(), palette, str(file), "data.masks.palette")
