"""The four splits of the real images: world, train, validation and test.

The splits are disjoint by content, not by name. Within each class the distinct images are ordered by their SHA-256,
which works as a shuffle and depends on nothing else, and the order is cut at the shares.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np

from engine.config.data_spec import Palette, SourceSettings
from engine.data.open_source import check_known, open_source
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError, SpecError

SPLITS = ("world", "train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Four disjoint tuples of real images, in the order of digests. duplicates: how many copies were left out."""

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
        """Count the images of each class in a split, in label order."""
        counts = Counter(image.label for image in self[split])
        return tuple(counts[label] for label in range(len(self.classes)))


def load_splits(spec: SourceSettings, *, synthetic: bool = False) -> Splits:
    """Open the source and divide it. Raises DataError, and SpecError for synthetic images if not `synthetic`."""
    if spec.allows_synthetic and not synthetic:
        raise SpecError("data.synthetic: only train-generator takes synthetic images for real ones; leave it out")
    return divide(open_source(spec), spec)


def divide(real: RealSet, spec: SourceSettings) -> Splits:
    """Cut a set into its splits, class by class. Raises DataError where the same image has two labels."""
    shares = spec.splits
    held_out = distinct(real.held_out)
    known = {image.digest for image in held_out}
    images = [image for image in distinct(real.images) if image.digest not in known]
    if held_out:
        world, train = _cut(images, (shares.world, shares.train))
        validation, test = _cut(held_out, (shares.validation, shares.test))
    else:
        world, train, validation, test = _cut(images, (shares.world, shares.train, shares.validation, shares.test))
    check_known(spec.train_share, real, "train_share")
    train = [image for group in _by_class(train) for image in group[: _kept(group, spec)]]
    duplicates = len(real.images) + len(real.held_out) - len(images) - len(held_out)
    return Splits(
        real.classes, tuple(world), tuple(train), tuple(validation), tuple(test), duplicates, spec.mask_palette
    )


def _kept(group: Sequence[RealImage], spec: SourceSettings) -> int:
    kept = round(spec.train_share.get(group[0].class_name, 1.0) * len(group))
    return kept if spec.train_per_class is None else min(kept, spec.train_per_class)


def distinct(images: Iterable[RealImage]) -> list[RealImage]:
    """Return one image of each content, ordered by digest. Raises DataError where copies differ in label or mask."""
    unique: dict[str, RealImage] = {}
    for image in images:
        first = unique.setdefault(image.digest, image)
        if first.label != image.label:
            raise DataError(
                f"{image.origin} ({image.class_name}) and {first.origin} ({first.class_name}) are the same image "
                "with two labels; remove one"
            )
        if first is not image and image.read_mask is not None and not np.array_equal(first.mask(), image.mask()):
            raise DataError(f"{image.origin} and {first.origin} are the same image with two masks; remove one")
    return [unique[digest] for digest in sorted(unique)]  # which works as a shuffle, and depends on nothing else


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
