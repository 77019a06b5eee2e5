"""Checking finished shards against what their stats files say of them."""

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
from shards.storage.store import StoreLike
from shards.storage.open_store import open_store
from shards.storage.store import Store, StoredFile, is_temporary

_CARDS = {"README.md", "_info.json", "sizes.json"}


@dataclass(frozen=True)
class Finding:
    """Something wrong. shard: the name of the shard it concerns, if one; text: what, and where."""

    shard: str | None
    text: str


def verify_folder(place: StoreLike, classes: Sequence[str], expected: Iterable[str], plan_digest: str) -> Iterator[Finding]:
    """Everything that is wrong with a folder of shards, local or in an object store: missing, foreign, short, altered
    and inconsistent files, wrong labels, and keys that stand in two shards. Reads every byte once; changes nothing.

    expected: names of all shards of the plan.
    """
    store, names = open_store(place), list(expected)
    found = store.entries()
    yield from _strangers(found, set(names))
    seen: dict[str, str] = {}
    for name in names:
        if f"{name}{STATS_SUFFIX}" not in found:
            yield Finding(name, f"{name}{STATS_SUFFIX}: missing, the unit is not finished")
            continue
        try:
            stats = read_stats(store, name)
            problems = list(_verify_shard(store, name, stats, classes, plan_digest, seen))
        except ShardError as error:
            problems = [str(error)]
        yield from (Finding(name, problem) for problem in problems)


def _strangers(found: Mapping[str, StoredFile], names: set[str]) -> Iterator[Finding]:
    known = _CARDS | {f"{name}{end}" for name in names for end in (".tar", ".parquet", STATS_SUFFIX)}
    for name in found:
        if name not in known and not is_temporary(name):
            yield Finding(None, f"{name}: not a file of this run")


def _verify_shard(
    store: Store, name: str, stats: Stats, classes: Sequence[str], plan_digest: str, seen: dict[str, str]
) -> Iterator[str]:
    if stats["plan_digest"] != plan_digest:
        yield f"{name}{STATS_SUFFIX}: made under another plan ({stats['plan_digest'][:12]}, not {plan_digest[:12]})"
    for kind in {*stats["planned"], *stats["kept"], *stats["failed"]}:
        planned, kept, failed = (stats[field].get(kind, 0) for field in ("planned", "kept", "failed"))
        if planned != kept + failed:
            yield f"{name}{STATS_SUFFIX}: class {kind}: {planned} planned, but {kept} kept and {failed} failed"
    files = {facts["name"]: facts for facts in stats["files"]}
    missing = [f"{file}: missing" for file in files if store.size(file) is None]
    yield from missing
    if missing:
        return
    with store.local_copy(f"{name}.tar") as tar, store.local_copy(f"{name}.parquet") as index:
        altered = [
            problem
            for path, facts in zip((tar, index), files.values(), strict=True)
            for problem in _altered(path, facts)
        ]
        yield from altered
        if not altered:
            yield from _verify_samples(name, (tar, index), stats, classes, seen)


def _altered(path: Path, facts: Stats) -> Iterator[str]:
    if path.stat().st_size != facts["size"]:
        yield f"{facts['name']}: {path.stat().st_size} bytes, not {facts['size']}"
    elif sha256_of(path) != facts["sha256"]:
        yield f"{facts['name']}: other bytes than were written (SHA-256 differs)"


def _verify_samples(
    shard: str, files: tuple[Path, Path], stats: Stats, classes: Sequence[str], seen: dict[str, str]
) -> Iterator[str]:
    (tar, index), name = files, f"{shard}.tar"
    try:
        rows = {row["key"]: row for row in pq.read_table(index).to_pylist()}
        samples = dict(_samples(tar))
    except (tarfile.TarError, pa.ArrowInvalid) as error:
        yield f"{name}: {error}"
        return
    if not len(samples) == len(rows) == stats["count"]:
        yield f"{name}: {len(samples)} samples, {len(rows)} in the index, {stats['count']} in the stats"
    if Counter(row["class_name"] for row in rows.values()) != Counter(stats["kept"]):
        yield f"{name}: classes in the index differ from the counts in the stats"
    for key, members in samples.items():
        if key in seen:
            yield f"{name}: key {key} stands in {seen[key]} as well"
        seen[key] = name
        if key not in rows:
            yield f"{name}: key {key} is not in the index"
        else:
            yield from (f"{name}: {key}: {problem}" for problem in _verify_sample(members, rows[key], classes))


def _samples(tar: Path) -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """Key, and offset and bytes of each member by its extension; samples must be contiguous."""
    found: dict[str, dict[str, tuple[int, bytes]]] = {}
    with tarfile.open(tar) as opened:
        for member in opened:
            key, _, extension = member.name.partition(".")
            file = opened.extractfile(member)
            if file is None or extension not in MEMBER_EXTENSIONS:
                raise tarfile.TarError(f"{member.name}: not a member that a shard may have")
            found.setdefault(key, {})[extension] = (member.offset_data, file.read())
    yield from found.items()


def _verify_sample(members: dict[str, tuple[int, bytes]], row: dict[str, Any], classes: Sequence[str]) -> Iterator[str]:
    missing = {"cls", "json", "txt", row["image_format"]} - members.keys()
    if missing:
        yield f"members missing: {sorted(missing)}"
        return
    label, meta = int(members["cls"][1]), json.loads(members["json"][1])
    if not (label == row["label"] == meta["label"]) or not 0 <= label < len(classes):
        yield f"labels differ: {label} in .cls, {meta['label']} in .json, {row['label']} in the index"
    elif not classes[label] == row["class_name"] == meta["class_name"]:
        yield f"label {label} is {classes[label]!r}, but the sample says {meta['class_name']!r}"
    if any(meta[field] != row.get(field) for field in meta):
        yield "the .json differs from the index"
    if members["txt"][1].decode() != meta["prompt"]:
        yield "the .txt differs from the prompt in .json"
    for extension, (offset, data) in members.items():
        column = "image" if extension in IMAGE_FORMATS else extension.removesuffix(".png")
        if (row[f"{column}_offset"], row[f"{column}_size"]) != (offset, len(data)):
            yield f"the index has another place for .{extension}"
    try:
        decode_rgb(members[row["image_format"]][1])
    except CorruptImage as error:
        yield f"corrupt image: {error}"
