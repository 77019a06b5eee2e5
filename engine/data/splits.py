"""Which real image may be seen by whom.

World, train, validation and test are disjoint by content, not by name: within each class the distinct images are
ordered by their digest, which is as good as a shuffle and depends on nothing else, and the order is cut at the shares.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

import numpy as np

from engine.config.data_spec import DataSpec
from engine.config.palette import Palette
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError, SpecError

SPLITS = ("world", "train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Four disjoint tuples of real images, each in the order of digests.

    duplicates: how many copies of images were left out, within a part or of held-out images in the other part.
    palette:    of the masks of the images, where they have such.
    """

    classes: tuple[str, ...]
    world: tuple[RealImage, ...]
    train: tuple[RealImage, ...]
    validation: tuple[RealImage, ...]
    test: tuple[RealImage, ...]
    duplicates: int
    palette: Palette | None = None

    def __getitem__(self, split: str) -> tuple[RealImage, ...]:
        return {name: getattr(self, name) for name in SPLITS}[split]  # type: ignore[no-any-return]

    def counts(self, split: str) -> tuple[int, ...]:
        """Images of each class in a split, in label order."""
        found = [0] * len(self.classes)
        for image in self[split]:
            found[image.label] += 1
        return tuple(found)


def load_splits(spec: DataSpec, *, synthetic: bool = False) -> Splits:
    """Open the source and divide it. Raises DataError, and SpecError for synthetic data unless these may be taken."""
    if spec.synthetic and not synthetic:
        raise SpecError("data.synthetic: train-generator alone takes synthetic images for real ones; leave it out")
    return divide(open_source(spec), spec)


def open_source(spec: DataSpec) -> RealSet:
    """All real images that `spec` names, undivided. Raises DataError."""
    found = _open(spec)
    labels: dict[str, int] = {}
    for label, name in enumerate(found.classes):
        if (first := labels.setdefault(name, label)) < label:  # counts, prompts and choices are by name
            raise DataError(f"data: labels {first} and {label} are both called {name!r}; rename one in the data set")
    return found if spec.classes is None else _only(found, spec.classes)


def _only(found: RealSet, classes: Sequence[str]) -> RealSet:
    """The images of some classes, labelled in their order."""
    labels = {name: label for label, name in enumerate(classes)}
    _check_known(labels, found, "classes")
    images, held_out = (
        tuple(replace(one, label=labels[one.class_name]) for one in part if one.class_name in labels)
        for part in (found.images, found.held_out)
    )
    return replace(found, classes=tuple(classes), images=images, held_out=held_out)


def _open(spec: DataSpec) -> RealSet:
    # One import per branch: each source needs its own library, and none of the others'.
    if spec.source == "digits":
        from engine.data.sources.digits import open_digits

        return open_digits(None if spec.masks is None else spec.masks.palette)
    if spec.source == "cifar10":
        from engine.data.sources.cifar10 import open_cifar10

        return open_cifar10(spec.path or "")
    masks, held_out_masks = (None, None) if spec.masks is None else (spec.masks.path, spec.masks.held_out)
    found = _open_path(spec, spec.path or "", masks)
    if spec.held_out is None:
        return found
    held_out = _open_path(spec, spec.held_out, held_out_masks)
    if held_out.classes != found.classes:
        raise DataError(f"data.held_out has the classes {held_out.classes}, data.path has {found.classes}")
    return replace(found, held_out=held_out.images)


def _open_path(spec: DataSpec, path: str, masks: str | None) -> RealSet:
    palette = None if spec.masks is None else spec.masks.palette
    if spec.source == "imagefolder":
        from engine.data.sources.imagefolder import open_imagefolder, with_masks

        found = open_imagefolder(path)
        return found if masks is None or palette is None else with_masks(found, path, masks, palette)
    if spec.source == "parquet":
        from engine.data.sources.parquet import open_parquet

        return open_parquet(path, spec)
    from engine.data.sources.webdataset import open_webdataset

    return open_webdataset(path, palette, synthetic=spec.synthetic)


def divide(found: RealSet, spec: DataSpec) -> Splits:
    """Cut a set into its splits, class by class. Raises DataError where the same image has two labels."""
    shares = spec.splits
    held_out = distinct(found.held_out)
    known = {image.digest for image in held_out}
    images = [image for image in distinct(found.images) if image.digest not in known]
    if held_out:
        world, train = _cut(images, (shares.world, shares.train))
        validation, test = _cut(held_out, (shares.validation, shares.test))
    else:
        world, train, validation, test = _cut(images, (shares.world, shares.train, shares.validation, shares.test))
    _check_known(spec.train_share, found, "train_share")
    train = [image for group in _by_class(train) for image in group[: _kept(group, spec)]]
    duplicates = len(found.images) + len(found.held_out) - len(images) - len(held_out)
    palette = None if spec.masks is None else spec.masks.palette
    return Splits(found.classes, tuple(world), tuple(train), tuple(validation), tuple(test), duplicates, palette)


def _kept(group: Sequence[RealImage], spec: DataSpec) -> int:
    """How many images of a class stay in train."""
    kept = round(spec.train_share.get(group[0].class_name, 1.0) * len(group))
    return kept if spec.train_per_class is None else min(kept, spec.train_per_class)


def _check_known(names: Iterable[str], found: RealSet, key: str) -> None:
    if unknown := next((name for name in names if name not in found.classes), None):
        near = difflib.get_close_matches(unknown, found.classes, n=1) or found.classes[:8]
        raise DataError(f"data.{key}: there is no class {unknown!r}; did you mean {', '.join(near)}?")


def distinct(images: Iterable[RealImage]) -> list[RealImage]:
    """One of each content, ordered by digest. Raises DataError where the same image has two labels or two masks."""
    found: dict[str, RealImage] = {}
    for image in images:
        first = found.setdefault(image.digest, image)
        if first.label != image.label:
            raise DataError(
                f"{image.origin} ({image.class_name}) and {first.origin} ({first.class_name}) are the same image "
                "with two labels; remove one"
            )
        if first is not image and image.read_mask is not None and not np.array_equal(first.mask(), image.mask()):
            raise DataError(f"{image.origin} and {first.origin} are the same image with two masks; remove one")
    return [found[digest] for digest in sorted(found)]


def _by_class(images: Iterable[RealImage]) -> list[list[RealImage]]:
    ordered = sorted(images, key=lambda image: image.label)  # stable: digests stay in order within a class
    return [list(group) for _, group in groupby(ordered, key=lambda image: image.label)]


def _cut(images: Sequence[RealImage], shares: Sequence[float]) -> list[list[RealImage]]:
    """Divide each class by `shares`, scaled to add up to 1; every image ends in exactly one part."""
    parts: list[list[RealImage]] = [[] for _ in shares]
    bounds = [total / (sum(shares) or 1.0) for total in accumulate(shares)]
    for group in _by_class(images):
        ends = [round(bound * len(group)) for bound in bounds]
        for part, start, end in zip(parts, [0, *ends], ends, strict=False):
            part += group[start:end]
    return parts
