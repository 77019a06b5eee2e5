"""Opening the real images that a spec names, undivided, and listing a folder of one folder per class."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.config.data_spec import SOURCES, FileSourceSettings, SourceSettings
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def open_source(spec: SourceSettings) -> RealSet:
    """Return all real images of a source. Raises DataError."""
    images: RealSet = SOURCES.make(spec)
    labels: dict[str, int] = {}
    for label, name in enumerate(images.classes):
        if (first := labels.setdefault(name, label)) < label:  # counts, prompts and choices are by name
            raise DataError(f"data: labels {first} and {label} are both called {name!r}; rename one in the data set")
    return images if spec.classes is None else _keep_classes(images, spec.classes)


def with_held_out(spec: FileSourceSettings, open_path: Callable[[str], RealSet]) -> RealSet:
    """Return the images of `path`, with those of `held_out` as the held-out part. Raises DataError."""
    images = open_path(spec.path)
    if spec.held_out is None:
        return images
    held_out = open_path(spec.held_out)
    if held_out.classes != images.classes:
        raise DataError(f"data.held_out has the classes {held_out.classes}, data.path has {images.classes}")
    return replace(images, held_out=held_out.images)


def check_known(names: Iterable[str], images: RealSet, key: str) -> None:
    """Raise DataError where the spec's `data.KEY` names a class that the images do not have."""
    if unknown := next((name for name in names if name not in images.classes), None):
        near = difflib.get_close_matches(unknown, images.classes, n=1) or images.classes[:8]
        raise DataError(f"data.{key}: there is no class {unknown!r}; did you mean {', '.join(near)}?")


def _keep_classes(images: RealSet, classes: Sequence[str]) -> RealSet:
    """Return the images of some classes, labelled in their order."""
    labels = {name: label for label, name in enumerate(classes)}
    check_known(labels, images, "classes")
    kept, held_out = (
        tuple(replace(image, label=labels[image.class_name]) for image in part if image.class_name in labels)
        for part in (images.images, images.held_out)
    )
    return replace(images, classes=tuple(classes), images=kept, held_out=held_out)


def list_class_folders(path: str, place: str = "data.path") -> RealSet:
    """List PATH/<class>/**/<image>, with classes sorted by name. Raises DataError, about `place`, without images."""
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
