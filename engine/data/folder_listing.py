"""Images in one folder per class, as torchvision's ImageFolder reads them."""

from pathlib import Path

from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def list_class_folders(path: str, place: str = "data.path") -> RealSet:
    """List PATH/<class>/**/<image>; classes are in the order of their sorted names.

    place: what names the path, for errors. Raises DataError where there is no image.
    """
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
