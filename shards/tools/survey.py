"""What is in shards of anybody's, and what is wrong with them."""

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from shards.codec import CorruptImage, decode_rgb
from shards.errors import ShardError
from shards.reading.image_size import image_size
from shards.reading.tar_samples import TarSample, member_bytes, map_file, read_tar_samples
from shards.reading.tar_scan import TarData, TarMember, Members
from shards.stats import STATS_SUFFIX
from shards.storage.commit import sha256_of
from shards.storage.locations import ShardFile, exists, find_tars, is_remote, read_bytes
from shards.storage.manifest import read_stats

Class = tuple[int | None, str | None]
"""Label and name; None where a sample does not tell it."""

PICKED = 10
_SHOWN = 20
_TYPES = {"NoneType": "null", "dict": "object"}


@dataclass(frozen=True, order=True, slots=True)
class Pick:
    """An image for a contact sheet. rank: by which it was picked, a hash of its key."""

    rank: bytes
    tar: int
    key: str
    offset: int
    size: int
    synthetic: bool


@dataclass
class Survey:
    """Counts over shards, one shard at a time; memory grows by 8 bytes a sample, for the keys.

    roles:    which members are what. decode: decode every image, not only its header, and
              compare every shard with the SHA-256 in its stats file.
    told:     class names in label order, for samples whose .json tells none.
    members:  samples that have a member, by extension. fields: how often a field of the .json has a type.
    classes:  samples by label and class name. synthetic: by what the .json says; None where it does not say.
    formats, width, height: of the images; the least and the most pixels.
    imageless: samples without an image. damaged: what is wrong, the first of it; `problems` counts it all.
    picks:    of each class the PICKED images whose keys have the least hashes: the same on every run.
    """

    roles: Members = field(default_factory=Members)
    decode: bool = False
    told: Sequence[str] = ()
    tars: list[ShardFile] = field(default_factory=list)
    samples: int = 0
    imageless: int = 0
    problems: int = 0
    members: Counter[str] = field(default_factory=Counter)
    fields: dict[str, Counter[str]] = field(default_factory=dict)
    classes: Counter[Class] = field(default_factory=Counter)
    synthetic: Counter[bool | None] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    width: tuple[int, int] | None = None
    height: tuple[int, int] | None = None
    damaged: list[str] = field(default_factory=list)
    picks: dict[Class, list[Pick]] = field(default_factory=dict)
    keys: "KeyBook" = field(default_factory=lambda: KeyBook())

    def add(self, tar: ShardFile, path: Path) -> None:
        """Count one shard. path: the tar, or its copy on this disk. A damaged shard is noted, and counts as empty."""
        self.tars.append(tar)
        self.keys.next_tar()
        try:
            held = 0
            with map_file(path, tar.url) as data:
                for entry in read_tar_samples(data, tar.url, self.roles):
                    self._count(entry, data, tar)
                    held += 1
            self._compare(tar, held)
        except ShardError as error:
            self.note(str(error))

    def note(self, problem: str) -> None:
        """Something is wrong."""
        self.problems += 1
        if len(self.damaged) < _SHOWN:
            self.damaged.append(problem)

    def names(self) -> dict[int, set[str]]:
        """The names that each label has."""
        found: dict[int, set[str]] = {}
        for label, name in self.classes:
            if label is not None and name is not None:
                found.setdefault(label, set()).add(name)
        return found

    def by_class(self) -> list[tuple[int | None, str | None, int]]:
        """Label, class name and samples, in the order of labels; those without a label last."""
        found = [(label, name, count) for (label, name), count in self.classes.items()]
        return sorted(found, key=lambda one: (one[0] is None, one[0] or 0, one[1] or ""))

    def _compare(self, tar: ShardFile, count: int) -> None:
        """With the stats file of a local shard of ours."""
        if tar.local is None or not Path(tar.sibling(STATS_SUFFIX)).exists():
            return
        stats = read_stats(tar.local.parent, tar.local.stem)
        if stats["count"] != count:
            self.note(f"{tar.url}: {count} samples, and its stats file says {stats['count']}")
        if self.decode and sha256_of(tar.local) != stats["files"][0]["sha256"]:
            self.note(f"{tar.url}: other bytes than were written (SHA-256 differs from its stats file's)")

    def _count(self, entry: TarSample, data: TarData, tar: ShardFile) -> None:
        self.samples += 1
        self.keys.add(entry.key)
        self.members.update(entry.members.keys())
        self.synthetic[entry.synthetic] += 1
        self.classes[self._class(entry)] += 1
        for name, value in entry.facts.items():
            self.fields.setdefault(name, Counter())[type_name(value)] += 1
        for problem in entry.problems:
            self.note(f"{tar.url}, sample {entry.key!r}: {problem}")
        if entry.image is None:
            self.imageless += 1
            return
        try:
            self._look(entry, entry.members[entry.image], data)
        except CorruptImage as error:
            self.note(f"{tar.url}, sample {entry.key!r} at byte {entry.members[entry.image].offset}: {error}")

    def _class(self, entry: TarSample) -> Class:
        if entry.class_name is None and entry.label is not None and entry.label < len(self.told):
            return entry.label, self.told[entry.label]
        return entry.label, entry.class_name

    def _look(self, entry: TarSample, image: TarMember, data: TarData) -> None:
        form, width, height = image_size(data, image.offset, image.size)
        if self.decode:
            decode_rgb(member_bytes(data, image))
        self.formats[form] += 1
        self.width, self.height = _range(self.width, width), _range(self.height, height)
        rank = blake2b(entry.key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        picked = self.picks.setdefault(self._class(entry), [])
        if len(picked) < PICKED or rank < picked[-1].rank:
            pick = Pick(rank, len(self.tars) - 1, entry.key, image.offset, image.size, bool(entry.synthetic))
            picked[:] = heapq.nsmallest(PICKED, [*picked, pick])


class KeyBook:
    """Keys of many shards by their hashes, 8 bytes each, to find those that come twice."""

    def __init__(self) -> None:
        self._hashes, self._starts = array("q"), array("q")

    def next_tar(self) -> None:
        """What is added from here on is in the next shard."""
        self._starts.append(len(self._hashes))

    def add(self, key: str) -> None:
        """One key of the present shard."""
        self._hashes.append(hash(key))

    def repeated(self) -> tuple[int, list[tuple[int, int]]]:
        """How many keys have the hash of an earlier one, so most likely are equal to it; and the pairs of shards, by
        number, that have such keys in common."""
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        starts = np.frombuffer(self._starts, np.int64)
        pairs = (np.searchsorted(starts, order[again + step], "right") - 1 for step in (0, 1))
        return len(again), sorted(set(zip(*(pair.tolist() for pair in pairs), strict=True)))


def unfinished(place: str) -> list[str]:
    """Tars of a local folder that a stream passes over: others there have a stats file, and these do not."""
    if is_remote(place) or not Path(place).is_dir():
        return []
    finished = {Path(tar.url).name for tar in find_tars(place)}
    return sorted(tar.name for tar in Path(place).glob("*.tar") if tar.name not in finished)


def common_keys(tars: Iterable[tuple[ShardFile, Path]], roles: Members) -> Iterator[tuple[str, str, str]]:
    """Keys that stand in two of these shards, with both places."""
    seen: dict[str, str] = {}
    for tar, path in tars:
        with map_file(path, tar.url) as data:
            for entry in read_tar_samples(data, tar.url, roles):
                if entry.key in seen:
                    yield entry.key, seen[entry.key], tar.url
                seen[entry.key] = tar.url


def told_names(tar: ShardFile) -> list[str]:
    """Class names in label order, as `_info.json` in a shard's folder tells them; none where there is no such file.

    Raises ShardError where it is damaged.
    """
    folder, slash, _ = tar.url.rpartition("/")
    place = f"{folder}{slash}_info.json"
    if not exists(place):
        return []
    try:
        found = json.loads(read_bytes(place)).get("classes", [])  # timm's own has no such field
        return [str(name) for name in found]
    except (ValueError, AttributeError, TypeError) as error:
        raise ShardError(f"{place}: damaged ({error}); mend it or move it away") from None


def type_name(value: Any) -> str:
    """Of a value of a .json."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        return "int beyond 64 bits"
    name = type(value).__name__
    return _TYPES.get(name, name)


def as_json(survey: Survey) -> Mapping[str, Any]:
    """All of it for machines."""
    return {
        "shards": len(survey.tars),
        "samples": survey.samples,
        "bytes": sum(tar.size for tar in survey.tars),
        "classes": [{"label": label, "name": name, "samples": count} for label, name, count in survey.by_class()],
        "images": {"formats": dict(survey.formats), "width": survey.width, "height": survey.height},
        "members": dict(survey.members),
        "fields": {name: dict(types) for name, types in survey.fields.items()},
        "synthetic": survey.synthetic[True],
        "real": survey.synthetic[False],
        "not_said": survey.synthetic[None],
        "without_image": survey.imageless,
        "repeated_keys": survey.keys.repeated()[0],
        "problems": survey.problems,
        "damaged": survey.damaged,
    }


def _range(found: tuple[int, int] | None, value: int) -> tuple[int, int]:
    return (value, value) if found is None else (min(found[0], value), max(found[1], value))
