"""Verification of finished shards against their stats files."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.codec import CorruptImage, decode_rgb
from shards.errors import ShardError
from shards.sample import IMAGE_FORMATS, MEMBER_EXTENSIONS
from shards.stats import STATS_SUFFIX, Stats
from shards.storage.commit import sha256_of
from shards.storage.manifest import read_stats
from shards.storage.open_store import open_store
from shards.storage.store import Store, StoreLike, is_temporary

_CARD_FILES = {"README.md", "_info.json", "sizes.json"}

StoredMember = tuple[int, bytes]
"""Offset of a member in its tar, and its bytes."""


@dataclass(frozen=True)
class Finding:
    """A problem. shard: name of its shard, or None; text: what is wrong, and where."""

    shard: str | None
    text: str


def verify_folder(
    location: StoreLike, classes: Sequence[str], expected: Iterable[str], plan_digest: str
) -> Iterator[Finding]:
    """Yield every problem of a folder of shards, local or in an object store. Reads every byte once; changes nothing.

    Problems are missing, unknown, altered and inconsistent files, wrong labels, and keys that are in two shards.
    expected: names of all shards of the plan.
    """
    store, shards = open_store(location), list(expected)
    files = store.entries()
    known = _CARD_FILES | {f"{shard}{suffix}" for shard in shards for suffix in (".tar", ".parquet", STATS_SUFFIX)}
    unknown = [name for name in files if name not in known and not is_temporary(name)]
    yield from (Finding(None, f"{name}: not a file of this run") for name in unknown)
    verifier = _ShardVerifier(store, classes, plan_digest)
    for shard in shards:
        if f"{shard}{STATS_SUFFIX}" not in files:
            yield Finding(shard, f"{shard}{STATS_SUFFIX}: missing, the unit is not finished")
            continue
        try:
            problems = list(verifier.verify(shard))
        except ShardError as error:
            problems = [str(error)]
        yield from (Finding(shard, problem) for problem in problems)


class _ShardVerifier:
    """A verifier of the shards of one folder, one by one. It remembers the shard of every key."""

    def __init__(self, store: Store, classes: Sequence[str], plan_digest: str) -> None:
        self._store, self._classes, self._plan_digest = store, classes, plan_digest
        self._shard_of_key: dict[str, str] = {}

    def verify(self, shard: str) -> Iterator[str]:
        """Yield the problems of one shard. Raise ShardError for damaged stats."""
        stats = read_stats(self._store, shard)
        yield from _verify_stats(f"{shard}{STATS_SUFFIX}", stats, self._plan_digest)
        files = {file["name"]: file for file in stats["files"]}
        missing = [f"{name}: missing" for name in files if self._store.size(name) is None]
        yield from missing
        if missing:
            return
        with self._store.local_copy(f"{shard}.tar") as tar, self._store.local_copy(f"{shard}.parquet") as index:
            pairs = zip((tar, index), files.values(), strict=True)
            altered = [problem for path, file in pairs for problem in _altered(path, file)]
            yield from altered
            if not altered:
                yield from self._verify_samples(tar, index, stats)

    def _verify_samples(self, tar: Path, index: Path, stats: Stats) -> Iterator[str]:
        name = stats["files"][0]["name"]
        try:
            rows = {row["key"]: row for row in pq.read_table(index).to_pylist()}
            samples = _read_samples(tar)
        except (tarfile.TarError, pa.ArrowInvalid) as error:
            yield f"{name}: {error}"
            return
        if not len(samples) == len(rows) == stats["count"]:
            yield f"{name}: {len(samples)} samples, {len(rows)} in the index, {stats['count']} in the stats"
        if Counter(row["class_name"] for row in rows.values()) != Counter(stats["kept"]):
            yield f"{name}: classes in the index differ from the counts in the stats"
        for key, members in samples.items():
            if key in self._shard_of_key:
                yield f"{name}: key {key} is in {self._shard_of_key[key]} as well"
            self._shard_of_key[key] = name
            if key not in rows:
                yield f"{name}: key {key} is not in the index"
                continue
            yield from (f"{name}: {key}: {problem}" for problem in _verify_sample(members, rows[key], self._classes))


def _verify_stats(name: str, stats: Stats, plan_digest: str) -> Iterator[str]:
    if stats["plan_digest"] != plan_digest:
        yield f"{name}: made under another plan ({stats['plan_digest'][:12]}, not {plan_digest[:12]})"
    for class_name in {*stats["planned"], *stats["kept"], *stats["failed"]}:
        planned, kept, failed = (stats[field].get(class_name, 0) for field in ("planned", "kept", "failed"))
        if planned != kept + failed:
            yield f"{name}: class {class_name}: {planned} planned, but {kept} kept and {failed} failed"


def _altered(path: Path, file: Mapping[str, Any]) -> Iterator[str]:
    if path.stat().st_size != file["size"]:
        yield f"{file['name']}: {path.stat().st_size} bytes, not {file['size']}"
    elif sha256_of(path) != file["sha256"]:
        yield f"{file['name']}: changed since it was written (SHA-256 differs)"


def _read_samples(tar: Path) -> dict[str, dict[str, StoredMember]]:
    """Return the members of each sample, by key and extension."""
    samples: dict[str, dict[str, StoredMember]] = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            file = archive.extractfile(member)
            if file is None or extension not in MEMBER_EXTENSIONS:
                raise tarfile.TarError(f"{member.name}: not a member that a shard may have")
            samples.setdefault(key, {})[extension] = (member.offset_data, file.read())
    return samples


def _verify_sample(members: Mapping[str, StoredMember], row: dict[str, Any], classes: Sequence[str]) -> Iterator[str]:
    missing = {"cls", "json", "txt", row["image_format"]} - members.keys()
    if missing:
        yield f"members missing: {sorted(missing)}"
        return
    label, meta = int(members["cls"][1]), json.loads(members["json"][1])
    if not (label == row["label"] == meta["label"]) or not 0 <= label < len(classes):
        yield f"labels differ: {label} in .cls, {meta['label']} in .json, {row['label']} in the index"
    elif not classes[label] == row["class_name"] == meta["class_name"]:
        yield f"label {label} is {classes[label]!r}, but the sample's class is {meta['class_name']!r}"
    if any(meta[field] != row.get(field) for field in meta):
        yield "the .json differs from the index"
    if members["txt"][1].decode() != meta["prompt"]:
        yield "the .txt differs from the prompt in .json"
    for extension, (offset, data) in members.items():
        column = "image" if extension in IMAGE_FORMATS else extension.removesuffix(".png")
        if (row[f"{column}_offset"], row[f"{column}_size"]) != (offset, len(data)):
            yield f"the index has another offset or size for .{extension}"
    try:
        decode_rgb(members[row["image_format"]][1])
    except CorruptImage as error:
        yield f"corrupt image: {error}"
