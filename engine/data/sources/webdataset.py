"""WebDataset tars, ours or another's: an image and a `.cls` of the same key, perhaps a `.json` with `class_name`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from engine.config.data_spec import SOURCES, FileSourceSettings, MaskedSourceSettings, MaskPalette, Palette
from engine.data.foreign_tars import Members, label_of, mask_member, metadata_of, read_samples
from engine.data.masks import Mask, read_mask
from engine.data.open_source import with_held_out
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError

_IMAGES = ("png", "jpg", "jpeg", "webp")


class WebdatasetSettings(FileSourceSettings, MaskedSourceSettings):
    """Settings of the source `webdataset`: a folder of tars, or one tar."""

    source: Literal["webdataset"]
    synthetic: bool = False
    """Take synthetic images for real ones, on purpose, to train a generator on another one's images. What it makes is
    marked by one generation more. Nothing but `train-generator` takes such data."""
    masks: MaskPalette | None = None
    """Dense labels: the `.mask.png` of every sample."""

    @property
    def allows_synthetic(self) -> bool:
        """Return whether the spec takes synthetic images for real ones."""
        return self.synthetic


def open_webdataset(settings: WebdatasetSettings) -> RealSet:
    """Index the tars of both parts. Raises DataError."""
    return with_held_out(settings, lambda path: _open(path, settings))


def _open(path: str, settings: WebdatasetSettings) -> RealSet:
    """Index one tar, or a folder's *.tar. Classes are named by `class_name` in the .json, or by their labels."""
    palette = settings.mask_palette
    tars = sorted(Path(path).glob("*.tar")) if Path(path).is_dir() else [Path(path)]
    if not tars or not tars[0].is_file():
        raise DataError(f"data.path: {path} is no tar and no folder of tars")
    samples = [
        (label_of(place, members), _metadata(place, members, settings.synthetic), place, members)
        for tar in tars
        for place, members in read_samples(tar).items()
    ]
    if not samples:
        raise DataError(f"data.path: no sample in {path}")
    names: dict[int, str] = {}
    for label, metadata, place, _ in samples:
        name = str(metadata.get("class_name", label))
        if names.setdefault(label, name) != name:
            raise DataError(
                f"{place}: label {label} is {name!r} here and {names[label]!r} in samples before; number the classes "
                "of all tars alike"
            )
    classes = tuple(names.get(label, str(label)) for label in range(1 + max(names)))
    images = []
    for label, metadata, place, members in samples:
        readers = _image(place, members), _mask(place, members, palette)
        images.append(RealImage(label, classes[label], place, *readers, int(metadata.get("generation", 0))))
    return RealSet(classes, tuple(images))


def _mask(place: str, members: Members, palette: Palette | None) -> Callable[[], Mask] | None:
    if palette is None:
        return None
    read = mask_member(place, members, tuple(palette), "data.masks", "data.masks.palette")
    return lambda: read_mask(read(), palette, f"{place}.mask.png", "data.masks.palette")


def _metadata(place: str, members: Members, synthetic: bool) -> dict[str, Any]:
    metadata = metadata_of(place, members)
    if metadata.get("synthetic") and not synthetic:
        raise DataError(f"{place} says that it is synthetic; real data must be real")
    return metadata


def _image(place: str, members: Members) -> Callable[[], bytes]:
    extension = next((extension for extension in _IMAGES if extension in members), None)
    if extension is None:
        raise DataError(f"{place}: no image ({', '.join(_IMAGES)}) among {sorted(members)}")
    return members[extension]


SOURCES.register(WebdatasetSettings, open_webdataset)
