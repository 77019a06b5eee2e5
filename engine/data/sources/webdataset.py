"""WebDataset tars, ours or another's: an image and a `.cls` of the same key, perhaps a `.json` with `class_name`."""

import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.config.palette import Palette
from engine.data.masks import Mask, read_mask
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError

_IMAGES = ("png", "jpg", "jpeg", "webp")

Members = dict[str, Callable[[], bytes]]
"""A reader of each member of a sample, by its extension."""


def open_webdataset(path: str, palette: Palette | None = None, *, synthetic: bool = False) -> RealSet:
    """Index every *.tar of a folder, or one tar; images are read later from their place in the tar.

    palette: of the `.mask.png` of every sample, if masks are asked for. Class names come from `class_name` in the json
    members, else they are the labels as text. synthetic: take samples that say that they are.
    """
    tars = sorted(Path(path).glob("*.tar")) if Path(path).is_dir() else [Path(path)]
    if not tars or not tars[0].is_file():
        raise DataError(f"data.path: {path} is no tar and no folder of tars")
    samples = [
        (_label(place, members), _metadata(place, members, synthetic), place, members)
        for tar in tars
        for place, members in _samples(tar).items()
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
    return RealSet(
        classes,
        tuple(
            RealImage(
                label,
                classes[label],
                place,
                _image(place, members),
                _mask(place, members, palette),
                int(metadata.get("generation", 0)),
            )
            for label, metadata, place, members in samples
        ),
    )


def open_masks(place: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[RealImage, ...]]:
    """Class names and the `.mask.png` of every sample of a folder of tars, or of one tar. names: what the masks' class
    indices mean; samples that say something else are refused. Raises DataError."""
    tars = sorted(place.glob("*.tar")) if place.is_dir() else [place]
    if not tars[0].is_file():
        raise DataError(f"condition.path: no file {place}; give a folder of tars or of PNGs, or one tar")
    found = []
    for tar in tars:
        for sample, members in _samples(tar).items():
            read = _mask_member(sample, members, names, "condition.path", "condition.palette")
            label, metadata = _label(sample, members), _json(sample, members)
            found.append(RealImage(label, str(metadata.get("class_name", label)), sample, read))
    if not found:
        raise DataError(f"condition.path: no sample in {place}")
    return tuple(dict.fromkeys(one.class_name for one in found)), tuple(found)


def _mask(place: str, members: Members, palette: Palette | None) -> Callable[[], Mask] | None:
    if palette is None:
        return None
    read = _mask_member(place, members, tuple(palette), "data.masks", "data.masks.palette")
    return partial(_decoded, read, palette, f"{place}.mask.png")


def _decoded(read: Callable[[], bytes], palette: Palette, origin: str) -> Mask:
    return read_mask(read(), palette, origin, "data.masks.palette")


def _mask_member(place: str, members: Members, names: tuple[str, ...], asks: str, key: str) -> Callable[[], bytes]:
    """The reader of a sample's mask. asks, key: places in the spec, of what asks for it and of the palette."""
    if "mask.png" not in members:
        raise DataError(f"{asks}: {place} has no .mask.png among {sorted(members)}")
    told = _json(place, members).get("mask_classes")
    if told is not None and tuple(json.loads(told)) != names:
        raise DataError(
            f"{place}: its mask's classes are {', '.join(json.loads(told))}, and {key} has {', '.join(names)}; give "
            "these in the masks' order"
        )
    return members["mask.png"]


def _samples(tar: Path) -> dict[str, Members]:
    """For each sample, by its place, a reader of each member by its extension."""
    found: dict[str, Members] = {}
    try:
        with tarfile.open(tar) as opened:
            for member in opened:
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if member.isfile() and stem:
                    place = f"{tar}:{folder}/{stem}" if folder else f"{tar}:{stem}"
                    read = partial(_read, tar, member.offset_data, member.size)
                    found.setdefault(place, {})[extension.lower()] = read
    except tarfile.TarError as error:
        raise DataError(f"{tar}: {error}; copy the file again") from None
    return found


def _read(tar: Path, offset: int, size: int) -> bytes:
    with tar.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise DataError(f"{tar} ends {size - len(data)} bytes early; copy the file again")
    return data


def _label(place: str, members: Members) -> int:
    if "cls" not in members:
        raise DataError(f"{place}: no .cls member beside {sorted(members)}")
    text = members["cls"]()
    if not text.strip().isdigit():
        raise DataError(f"{place}.cls: {text[:20]!r} is not a class index")
    return int(text)


def _metadata(place: str, members: Members, synthetic: bool) -> dict[str, Any]:
    metadata = _json(place, members)
    if metadata.get("synthetic") and not synthetic:
        raise DataError(f"{place} says that it is synthetic; real data must be real")
    return metadata


def _json(place: str, members: Members) -> dict[str, Any]:
    try:
        return dict(json.loads(members["json"]())) if "json" in members else {}
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}.json: {error}") from None


def _image(place: str, members: Members) -> Callable[[], bytes]:
    for extension in _IMAGES:
        if extension in members:
            return members[extension]
    raise DataError(f"{place}: no image ({', '.join(_IMAGES)}) among {sorted(members)}")
