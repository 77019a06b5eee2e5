"""A survey of the content of any WebDataset shards, and of what is wrong with them."""

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from shards.codec import CorruptImage, decode_rgb
from shards.errors import ShardError
from shards.reading.image_size import image_size
from shards.reading.members import Members
from shards.reading.tar_samples import TarSample, read_tar_samples
from shards.reading.tar_scan import TarData, TarMember, map_file, member_bytes
from shards.stats import STATS_SUFFIX
from shards.storage.commit import sha256_of
from shards.storage.locations import ShardFile, find_tars, is_remote, read_bytes
from shards.storage.manifest import read_stats
from shards.storage.retries import AccessRefused, FileMissing

LabelledClass = tuple[int | None, str | None]
"""Label and name of a class; None where a sample lacks it."""

IMAGES_PER_CLASS = 10
_MAX_MESSAGES = 20
_JSON_TYPES = {"NoneType": "null", "dict": "object"}


@dataclass(frozen=True, order=True, slots=True)
class PickedImage:
    """An image for a contact sheet. rank: a hash of its key; the least ranks of a class are picked."""

    rank: bytes
    tar: int
    key: str
    offset: int
    size: int
    synthetic: bool


class KeyHashes:
    """Hashes of the keys of many shards."""

    def __init__(self) -> None:
        self._hashes, self._starts = array("q"), array("q")

    def start_shard(self) -> None:
        """Begin the next shard."""
        self._starts.append(len(self._hashes))

    def add(self, key: str) -> None:
        """Add a key of the current shard."""
        self._hashes.append(hash(key))

    def repeated(self) -> tuple[int, list[tuple[int, int]]]:
        """Return how many keys have the hash of an earlier key, and the pairs of shard numbers that share a hash.

        Equal hashes almost certainly mean equal keys; `shared_keys` tells for sure.
        """
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        repeated = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        starts = np.frombuffer(self._starts, np.int64)
        first, second = (np.searchsorted(starts, order[repeated + step], "right") - 1 for step in (0, 1))
        return len(repeated), sorted(set(zip(first.tolist(), second.tolist(), strict=True)))


@dataclass
class Survey:
    """Counts over shards, which are added one by one. Memory grows by 8 bytes per sample, for the keys.

    roles:       which members are what.
    decode:      decode every image, not only its header, and check the SHA-256 in the stats file of every shard.
    class_names: names in label order, for samples whose .json has none.
    imageless:   samples without an image. problems: number of problems; `damaged` has the first messages.
    members:     samples that have a member, by extension. fields: how often each type occurs, by field of the .json.
    synthetic:   samples by what the .json says; None where it does not say.
    formats, width, height: of the images; the smallest and the largest number of pixels.
    picks:       for each class the IMAGES_PER_CLASS images whose keys have the least hashes: the same on every run.
    """

    roles: Members = field(default_factory=Members)  # which members are what
    decode: bool = False
    class_names: Sequence[str] = ()  # names in label order, for samples whose .json has none
    tars: list[ShardFile] = field(default_factory=list)
    samples: int = 0
    imageless: int = 0  # samples without an image
    problems: int = 0  # number of problems; `damaged` has the first messages
    members: Counter[str] = field(default_factory=Counter)  # samples that have a member, by extension
    fields: dict[str, Counter[str]] = field(default_factory=dict)  # how often each type occurs, by field of the .json
    classes: Counter[LabelledClass] = field(default_factory=Counter)
    synthetic: Counter[bool | None] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    width: tuple[int, int] | None = None
    height: tuple[int, int] | None = None
    damaged: list[str] = field(default_factory=list)
    picks: dict[LabelledClass, list[PickedImage]] = field(default_factory=dict)
    keys: KeyHashes = field(default_factory=KeyHashes)

    def add(self, tar: ShardFile, path: Path) -> None:
        """Count one shard, given by its path or that of its local copy. A damaged shard becomes a problem."""
        self.tars.append(tar)
        self.keys.start_shard()
        try:
            count = 0
            with map_file(path, tar.url) as data:
                for sample in read_tar_samples(data, tar.url, self.roles):
                    self._add_sample(sample, data, tar)
                    count += 1
            self._compare_with_stats(tar, count)
        except ShardError as error:
            self._add_problem(str(error))

    def by_class(self) -> list[tuple[int | None, str | None, int]]:
        """Return label, class name and sample count, ordered by label; classes without a label come last."""
        rows = [(label, name, count) for (label, name), count in self.classes.items()]
        return sorted(rows, key=lambda row: (row[0] is None, row[0] or 0, row[1] or ""))

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "shards": len(self.tars),
            "samples": self.samples,
            "bytes": sum(tar.size for tar in self.tars),
            "classes": [{"label": label, "name": name, "samples": count} for label, name, count in self.by_class()],
            "images": {"formats": dict(self.formats), "width": self.width, "height": self.height},
            "members": dict(self.members),
            "fields": {name: dict(types) for name, types in self.fields.items()},
            "synthetic": self.synthetic[True],
            "real": self.synthetic[False],
            "not_said": self.synthetic[None],
            "without_image": self.imageless,
            "repeated_keys": self.keys.repeated()[0],
            "problems": self.problems,
            "damaged": self.damaged,
        }

    def _add_problem(self, message: str) -> None:
        self.problems += 1
        if len(self.damaged) < _MAX_MESSAGES:
            self.damaged.append(message)

    def _compare_with_stats(self, tar: ShardFile, count: int) -> None:
        if tar.local is None or not Path(tar.sibling(STATS_SUFFIX)).exists():
            return
        stats = read_stats(tar.local.parent, tar.local.stem)
        if stats["count"] != count:
            self._add_problem(f"{tar.url}: {count} samples, but its stats file has {stats['count']}")
        if self.decode and sha256_of(tar.local) != stats["files"][0]["sha256"]:
            self._add_problem(f"{tar.url}: changed since it was written (its SHA-256 differs from its stats file's)")

    def _add_sample(self, sample: TarSample, data: TarData, tar: ShardFile) -> None:
        self.samples += 1
        self.keys.add(sample.key)
        self.members.update(sample.members.keys())
        self.synthetic[sample.synthetic] += 1
        self.classes[self._class(sample)] += 1
        for name, value in sample.metadata.items():
            self.fields.setdefault(name, Counter())[_type_name(value)] += 1
        for problem in sample.problems:
            self._add_problem(f"{tar.url}, sample {sample.key!r}: {problem}")
        if sample.image is None:
            self.imageless += 1
            return
        image = sample.members[sample.image]
        try:
            self._add_image(sample, image, data)
        except CorruptImage as error:
            self._add_problem(f"{tar.url}, sample {sample.key!r} at byte {image.offset}: {error}")

    def _class(self, sample: TarSample) -> LabelledClass:
        if sample.class_name is None and sample.label is not None and sample.label < len(self.class_names):
            return sample.label, self.class_names[sample.label]
        return sample.label, sample.class_name

    def _add_image(self, sample: TarSample, image: TarMember, data: TarData) -> None:
        image_format, width, height = image_size(data, image.offset, image.size)
        if self.decode:
            decode_rgb(member_bytes(data, image))
        self.formats[image_format] += 1
        self.width, self.height = _extended(self.width, width), _extended(self.height, height)
        rank = blake2b(sample.key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        picks = self.picks.setdefault(self._class(sample), [])
        if len(picks) < IMAGES_PER_CLASS or rank < picks[-1].rank:
            pick = PickedImage(rank, len(self.tars) - 1, sample.key, image.offset, image.size, bool(sample.synthetic))
            picks[:] = heapq.nsmallest(IMAGES_PER_CLASS, [*picks, pick])


def shared_keys(tars: Iterable[tuple[ShardFile, Path]], roles: Members) -> Iterator[tuple[str, str, str]]:
    """Yield each key that is in two of these shards, and the URLs of both. Each shard comes with its local path."""
    shard_of_key: dict[str, str] = {}
    for tar, path in tars:
        with map_file(path, tar.url) as data:
            for sample in read_tar_samples(data, tar.url, roles):
                if sample.key in shard_of_key:
                    yield sample.key, shard_of_key[sample.key], tar.url
                shard_of_key[sample.key] = tar.url


def unfinished_tars(location: str) -> list[str]:
    """Return the tars of a local folder that a stream skips: they have no stats file, and others there have one."""
    if is_remote(location) or not Path(location).is_dir():
        return []
    finished = {Path(tar.url).name for tar in find_tars(location)}
    return sorted(tar.name for tar in Path(location).glob("*.tar") if tar.name not in finished)


def read_class_names(tar: ShardFile) -> list[str]:
    """Return class names in label order from `_info.json` beside a shard, if it exists. Raise ShardError for damage."""
    folder, slash, _ = tar.url.rpartition("/")
    url = f"{folder}{slash}_info.json"
    try:
        names: Sequence[Any] = json.loads(read_bytes(url)).get("classes", [])  # timm's own file has no such field
        return [str(name) for name in names]
    except (FileMissing, AccessRefused):  # S3 refuses to tell that a key is missing to those who may not list
        return []
    except (ValueError, AttributeError, TypeError) as error:
        raise ShardError(f"{url}: damaged ({error}); repair it or move it away") from None


def _type_name(value: Any) -> str:
    if type(value) is int and not -(2**63) <= value < 2**63:
        return "int beyond 64 bits"
    name = type(value).__name__
    return _JSON_TYPES.get(name, name)


def _extended(span: tuple[int, int] | None, value: int) -> tuple[int, int]:
    return (value, value) if span is None else (min(span[0], value), max(span[1], value))
