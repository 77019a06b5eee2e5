"""Synthetic images that another tool made: which there are, and what is known of each."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.progress import track

from engine.data.class_folders import class_name
from engine.data.real_image import RealImage
from engine.data.folder_listing import list_class_folders
from engine.data.splits import distinct
from engine.errors import DataError, SpecError
from engine.export.sidecar import Sidecar
from shards.codec import CorruptImage, decode_rgb, detect_format, encode_rgb
from shards.sample import Sample, Scalar
from shards.stats import Stats

_THREADS = 4


@dataclass(frozen=True)
class ForeignImage:
    """One image file. problem: why it cannot be decoded, or ""."""

    path: Path
    meta: Mapping[str, Scalar]
    problem: str

    def sample(self) -> Sample:
        """With its very bytes; what is no png, jpg or webp becomes png."""
        data = self.path.read_bytes()
        form = detect_format(data)
        image = data if form else encode_rgb(decode_rgb(data), "png")
        return Sample(str(self.meta["key"]), image, form or "png", int(self.meta["label"]), self.meta)

    def failure(self) -> Stats:
        """As a stats file records it."""
        reason = f"{self.meta['origin']}: {self.problem}"
        return {"key": self.meta["key"], "class_name": self.meta["class_name"], "reasons": [reason]}


@dataclass(frozen=True)
class ForeignImageSet:
    """Every distinct image once, in the order of their digests, so that every shard has a mixture of classes.

    classes: names in label order. duplicates: how many copies were left out.
    """

    folder: Path
    classes: tuple[str, ...]
    images: tuple[ForeignImage, ...]
    duplicates: int

    @cached_property
    def corrupt(self) -> tuple[ForeignImage, ...]:
        """The images that cannot be decoded."""
        return tuple(one for one in self.images if one.problem)

    @cached_property
    def digest(self) -> str:
        """Of all that is known of all images: their content, labels and provenance."""
        found = hashlib.sha256()
        for one in self.images:
            found.update(json.dumps([dict(one.meta), one.problem]).encode())
        return found.hexdigest()


@dataclass(frozen=True)
class _Look:
    image: RealImage
    height: int
    width: int
    problem: str


def read_foreign_images(said: Sidecar, like: Sequence[str] | None = None) -> ForeignImageSet:
    """Read every image of FOLDER/<class>/. like: class names in label order; without it the folders', sorted.

    Raises DataError where there is no image, one cannot be opened, or one stands in two classes; SpecError for a folder
    of no class.
    """
    found = list_class_folders(str(said.folder), "import")
    names = [class_name(folder) for folder in found.classes]
    classes = _classes(said.folder, names, like)
    with ThreadPoolExecutor(_THREADS) as pool:
        done = track(pool.map(_look, found.images), "reading", len(found.images))
        looks = {look.image.origin: look for look in done}
    whole = distinct(look.image for look in looks.values() if not look.problem)
    broken = [look.image for look in looks.values() if look.problem]
    chosen = sorted([*whole, *broken], key=lambda image: (image.digest, image.origin))
    images = (_given(n, looks[image.origin], names[image.label], classes, said) for n, image in enumerate(chosen))
    return ForeignImageSet(said.folder, classes, tuple(images), len(looks) - len(chosen))


def _classes(folder: Path, names: Sequence[str], like: Sequence[str] | None) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SpecError(f"{folder}: two folders are of class {twice!r}; put their images into one")
    unknown = [] if like is None else sorted(set(names) - set(like))
    if unknown:
        raise SpecError(f"{folder}: folders of no class: {', '.join(unknown)}; the classes are {', '.join(like or ())}")
    return tuple(names if like is None else like)


def _look(image: RealImage) -> _Look:
    try:
        image.digest  # noqa: B018 - read here, in a thread, and kept
        height, width = decode_rgb(image.read()).shape[:2]
    except CorruptImage as error:
        return _Look(image, 0, 0, str(error))
    except OSError as error:
        raise DataError(f"{image.origin}: cannot be read: {error.strerror}; mend or remove it") from None
    return _Look(image, height, width, "")


def _given(number: int, look: _Look, name: str, classes: Sequence[str], said: Sidecar) -> ForeignImage:
    path = Path(look.image.origin)
    meta: dict[str, Scalar] = {
        "key": f"import{number:07d}",
        "label": classes.index(name),
        "class_name": name,
        "synthetic": True,
        **said.of(path),
        "origin": path.relative_to(said.folder).as_posix(),
        "digest": look.image.digest,
        "width": look.width,
        "height": look.height,
    }
    return ForeignImage(path, meta, look.problem)
