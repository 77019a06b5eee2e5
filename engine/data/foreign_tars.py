"""Samples of tars that any tool wrote: readers of their members, labels and metadata."""

import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.data.real_image import RealImage
from engine.errors import DataError

Members = dict[str, Callable[[], bytes]]  # a reader of each member of a sample, by its extension


def open_masks(place: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[RealImage, ...]]:
    """Return the class names and the `.mask.png` of every sample of tars. names: the classes of the masks' indices."""
    tars = sorted(place.glob("*.tar")) if place.is_dir() else [place]
    if not tars[0].is_file():
        raise DataError(f"condition.path: no file {place}; give a folder of tars or of PNGs, or one tar")
    layouts = []
    for tar in tars:
        for sample, members in read_samples(tar).items():
            read = mask_member(sample, members, names, "condition.path", "condition.palette")
            label, metadata = label_of(sample, members), metadata_of(sample, members)
            layouts.append(RealImage(label, str(metadata.get("class_name", label)), sample, read))
    if not layouts:
        raise DataError(f"condition.path: no sample in {place}")
    return tuple(dict.fromkeys(layout.class_name for layout in layouts)), tuple(layouts)


def mask_member(place: str, members: Members, names: tuple[str, ...], section: str, key: str) -> Callable[[], bytes]:
    """Return the reader of a sample's mask. section, key: the spec's keys of masks and palette, for errors."""
    if "mask.png" not in members:
        raise DataError(f"{section}: {place} has no .mask.png among {sorted(members)}")
    recorded = metadata_of(place, members).get("mask_classes")
    if recorded is not None and tuple(json.loads(recorded)) != names:
        raise DataError(
            f"{place}: its mask's classes are {', '.join(json.loads(recorded))}, and {key} has {', '.join(names)}; "
            "give these in the masks' order"
        )
    return members["mask.png"]


def read_samples(tar: Path) -> dict[str, Members]:
    """Return the members of each sample, by `TAR:FOLDER/KEY`. Raises DataError for a damaged tar."""
    samples: dict[str, Members] = {}
    try:
        with tarfile.open(tar) as opened:
            for member in opened:
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if member.isfile() and stem:
                    place = f"{tar}:{folder}/{stem}" if folder else f"{tar}:{stem}"
                    read = partial(read_range, tar, member.offset_data, member.size)
                    samples.setdefault(place, {})[extension.lower()] = read
    except tarfile.TarError as error:
        raise DataError(f"{tar}: {error}; copy the file again") from None
    return samples


def read_range(tar: Path, offset: int, size: int) -> bytes:
    """Return bytes of a tar. Raises DataError if it ends before them."""
    with tar.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise DataError(f"{tar} ends {size - len(data)} bytes early; copy the file again")
    return data


def label_of(place: str, members: Members) -> int:
    """Return the class index in a sample's `.cls`. Raises DataError."""
    if "cls" not in members:
        raise DataError(f"{place}: no .cls member beside {sorted(members)}")
    text = members["cls"]()
    if not text.strip().isdigit():
        raise DataError(f"{place}.cls: {text[:20]!r} is not a class index")
    return int(text)


def metadata_of(place: str, members: Members) -> dict[str, Any]:
    """Return a sample's `.json`; empty if it has none. Raises DataError."""
    try:
        return dict(json.loads(members["json"]())) if "json" in members else {}
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}.json: {error}") from None
