"""The synthetic images of another tool: files, labels and provenance."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.progress import track

from engine.data.class_folders import class_name
from engine.data.open_source import list_class_folders
from engine.data.real_image import RealImage
from engine.data.splits import distinct
from engine.errors import DataError, SpecError
from engine.export.sidecar import Sidecar
from shards.codec import CorruptImage, decode_rgb, detect_format, encode_rgb
from shards.sample import Sample, Scalar
from shards.stats import Stats

_THREADS = 4


@dataclass(frozen=True)
class ForeignImage:
    """An image file. problem: why it cannot be decoded, or ""."""

    path: Path
    meta: Mapping[str, Scalar]
    problem: str

    def sample(self) -> Sample:
        """Return the sample with the file's bytes. An image that is not png, jpg or webp is encoded as png."""
        data = self.path.read_bytes()
        form = detect_format(data)
        image = data if form else encode_rgb(decode_rgb(data), "png")
        return Sample(str(self.meta["key"]), image, form or "png", int(self.meta["label"]), self.meta)

    def failure(self) -> Stats:
        """Return the entry of a stats file for an image that cannot be decoded."""
        reason = f"{self.meta['origin']}: {self.problem}"
        return {"key": self.meta["key"], "class_name": self.meta["class_name"], "reasons": [reason]}


@dataclass(frozen=True)
class ForeignImageSet:
    """The distinct images of a folder, sorted by digest, so that every shard has a mixture of classes.

    classes: names in label order. duplicates: how many copies were left out.
    """

    folder: Path
    classes: tuple[str, ...]
    images: tuple[ForeignImage, ...]
    duplicates: int

    @cached_property
    def corrupt(self) -> tuple[ForeignImage, ...]:
        """The images that cannot be decoded."""
        return tuple(image for image in self.images if image.problem)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the content, labels and provenance of all images."""
        sha256 = hashlib.sha256()
        for image in self.images:
            sha256.update(json.dumps([dict(image.meta), image.problem]).encode())
        return sha256.hexdigest()


@dataclass(frozen=True)
class _DecodedImage:
    image: RealImage
    height: int
    width: int
    problem: str


def read_foreign_images(sidecar: Sidecar, classes: Sequence[str] | None = None) -> ForeignImageSet:
    """Read every image of FOLDER/<class>/. classes: in label order; by default the names of the folders, sorted.

    Raises DataError for no image, one that cannot be opened or has two classes; SpecError for an unknown class.
    """
    listing = list_class_folders(str(sidecar.folder), "import")
    names = [class_name(folder) for folder in listing.classes]
    labels = _labels(sidecar.folder, names, classes)
    with ThreadPoolExecutor(_THREADS) as pool:
        results = track(pool.map(_decode_image, listing.images), "reading", len(listing.images))
        by_origin = {decoded.image.origin: decoded for decoded in results}
    whole = distinct(decoded.image for decoded in by_origin.values() if not decoded.problem)
    corrupt = [decoded.image for decoded in by_origin.values() if decoded.problem]
    kept = sorted([*whole, *corrupt], key=lambda image: (image.digest, image.origin))
    images = tuple(
        _foreign_image(number, by_origin[image.origin], names[image.label], labels, sidecar)
        for number, image in enumerate(kept)
    )
    return ForeignImageSet(sidecar.folder, tuple(labels), images, len(by_origin) - len(kept))


def _labels(folder: Path, names: Sequence[str], classes: Sequence[str] | None) -> dict[str, int]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SpecError(f"{folder}: two folders are of class {twice!r}; put their images into one")
    ordered = names if classes is None else classes
    unknown = sorted(set(names) - set(ordered))
    if unknown:
        raise SpecError(f"{folder}: folders of no class: {', '.join(unknown)}; the classes are {', '.join(ordered)}")
    return {name: label for label, name in enumerate(ordered)}


def _decode_image(image: RealImage) -> _DecodedImage:
    try:
        image.digest  # noqa: B018 - a cached property, computed here because this is a thread
        height, width = decode_rgb(image.read()).shape[:2]
    except CorruptImage as error:
        return _DecodedImage(image, 0, 0, str(error))
    except OSError as error:
        raise DataError(f"{image.origin}: cannot be read: {error.strerror}; repair or remove it") from None
    return _DecodedImage(image, height, width, "")


def _foreign_image(
    number: int, decoded: _DecodedImage, name: str, labels: Mapping[str, int], sidecar: Sidecar
) -> ForeignImage:
    path = Path(decoded.image.origin)
    meta: dict[str, Scalar] = {
        "key": f"import{number:07d}",
        "label": labels[name],
        "class_name": name,
        "synthetic": True,
        **sidecar.metadata_of(path),
        "origin": path.relative_to(sidecar.folder).as_posix(),
        "digest": decoded.image.digest,
        "width": decoded.width,
        "height": decoded.height,
    }
    return ForeignImage(path, meta, decoded.problem)
