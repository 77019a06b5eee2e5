"""Shards again, in another size, of several places, or of chosen samples: every member's bytes as they were."""

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.codec import detect_format
from shards.errors import ShardError
from shards.reading.members import Members
from shards.reading.selection import read_selection
from shards.reading.tar_samples import TarSample, read_tar_samples
from shards.reading.tar_scan import TarData, map_file, member_bytes
from shards.sample import MEMBER_EXTENSIONS, Scalar
from shards.stats import STATS_SUFFIX, Stats
from shards.storage.commit import sweep_staging
from shards.storage.locations import ShardFile
from shards.storage.manifest import publish_stats, read_all_stats
from shards.storage.open_store import open_store
from shards.storage.shard_cache import ShardCache
from shards.writing.dataset_card import DatasetCard, write_card
from shards.writing.shard_writer import PublishedFile, ShardWriter

_OURS = re.compile(r"\d{5,}(\.tar|\.parquet|_stats\.json)|README\.md|_info\.json|sizes\.json|\.staging")
_UNLABELLED = "no label"


@dataclass(frozen=True)
class Wanted:
    """What the result is to be.

    per_shard, shards: samples of a shard, or else how many shards of nearly equal size.
    select: keys to keep; None: all. more: extensions to keep besides the known ones. roles: which members are what.
    """

    per_shard: int = 1000
    shards: int | None = None
    select: frozenset[str] | None = None
    more: tuple[str, ...] = ()
    roles: Members = field(default_factory=Members)

    def member(self, extension: str) -> bool:
        """Whether members of this extension are written."""
        roles = self.roles
        return extension in (*MEMBER_EXTENSIONS, *roles.image, roles.label, roles.mask, *self.more)

    def sample(self, entry: TarSample) -> bool:
        """Whether a sample is written."""
        return entry.image is not None and (self.select is None or entry.key in self.select)

    def column(self, extension: str, entry: TarSample) -> str:
        """What a member is called in the index."""
        known = {entry.image: "image", self.roles.mask: "mask", self.roles.label: "cls"}
        return known.get(extension, extension)

    def cuts(self, total: int) -> list[range]:
        """The samples of each shard to be, by their numbers. Raises ShardError where a shard would have none."""
        if self.shards is None:
            return [range(low, min(low + self.per_shard, total)) for low in range(0, total, self.per_shard)]
        if self.shards > total:
            raise ShardError(f"--shards {self.shards}: there are only {total} samples; take fewer shards")
        ends = [total * n // self.shards for n in range(self.shards + 1)]
        return [range(low, high) for low, high in pairwise(ends)]


@dataclass(frozen=True)
class Resharding:
    """All that is decided before anything is written.

    tars:    the sources' shards, in order. total: samples to write.
    classes: names in label order; `named`: whether the sources tell them, else they are the labels as text.
    fields:  columns of the index that are fields of the .json. columns: the members, as the index calls them.
    digest:  of samples and options; where it is equal, so is the result.
    left_out: members that are not written, by extension. imageless: samples without an image; they are not either.
    tags:    of the card. made_by: what the sources' stats files agree on.
    """

    tars: tuple[ShardFile, ...]
    total: int
    classes: tuple[str, ...]
    named: bool
    fields: pa.Schema
    columns: tuple[str, ...]
    digest: str
    left_out: Mapping[str, int]
    imageless: int
    tags: tuple[str, ...]
    made_by: Mapping[str, Any]
    wanted: Wanted
    cache: ShardCache

    def take(self, out: Path) -> None:
        """Make the folder, or go on with it. Raises ShardError where it holds something else."""
        if any(tar.local is not None and tar.local.parent.resolve() == out.resolve() for tar in self.tars):
            raise ShardError(f"--out {out}: is the source; choose a new folder")
        strangers = (
            [path.name for path in sorted(out.iterdir()) if not _OURS.fullmatch(path.name)] if out.exists() else []
        )
        if strangers:
            raise ShardError(f"--out {out}: holds {strangers[0]}, which is no shard's; choose a new folder")
        if any(stats.get("plan_digest") != self.digest for stats in read_all_stats(out).values()):
            raise ShardError(f"--out {out}: was begun from other shards or with other options; choose a new folder")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ShardError(f"--out {out}: cannot be written: {error.strerror}; choose another folder") from None

    def write(self, out: Path) -> Iterator[int]:
        """Write every shard that is not finished, and the card; gives the number of samples behind it, again and again.

        Raises ShardError, also where the sources have changed since they were looked at.
        """
        samples = self._samples()
        for number, part in enumerate(self.wanted.cuts(self.total)):
            name = f"{number:05d}"
            mine = islice(samples, len(part))
            if (out / f"{name}{STATS_SUFFIX}").exists():
                deque(mine, maxlen=0)
            else:
                self._write_shard(out, name, mine, len(part))
            yield part.stop
        license = self.made_by.get("license", "other")
        text = "Written by Shardmill's reshard from other shards; their samples are as they were."
        write_card(out, DatasetCard("resharded", text, license, self.tags, self.classes))
        sweep_staging(out)

    def _write_shard(self, out: Path, name: str, samples: Iterator[tuple[TarSample, TarData]], count: int) -> None:
        kept: Counter[str] = Counter()
        with ShardWriter(out, name, self._schema()) as writer:
            for entry, data in samples:
                chosen = {ext: member for ext, member in entry.members.items() if self.wanted.member(ext)}
                files = [(member.name, member_bytes(data, member)) for member in chosen.values()]
                columns = [self.wanted.column(extension, entry) for extension in chosen]
                writer.append(entry.key, files, columns, self._row(entry, data))
                kept[_UNLABELLED if entry.label is None else self.classes[entry.label]] += 1
            if kept.total() < count:
                raise ShardError(f"{self.tars[-1].url}: the shards have changed while they were read; start again")
            facts = writer.publish()
        publish_stats(open_store(out), name, self._stats(name, kept, facts))

    def _row(self, entry: TarSample, data: TarData) -> dict[str, Scalar | None]:
        assert entry.image is not None
        image = entry.members[entry.image]
        return {
            **{name: entry.metadata.get(name) for name in self.fields.names},
            **{f"{column}_offset": -1 for column in self.columns},
            **{f"{column}_size": 0 for column in self.columns},
            "key": entry.key,
            "label": -1 if entry.label is None else entry.label,
            "class_name": self.classes[entry.label] if self.named and entry.label is not None else entry.class_name,
            "synthetic": entry.synthetic,
            "image_format": detect_format(data[image.offset : image.offset + 12]),
        }

    def _schema(self) -> pa.Schema:
        places = [(f"{column}_{fact}", pa.int64()) for column in self.columns for fact in ("offset", "size")]
        return pa.schema([*self.fields, ("image_format", pa.string()), *places])

    def _stats(self, name: str, kept: Counter[str], files: Sequence[PublishedFile]) -> Stats:
        return {
            "unit": int(name),
            "count": kept.total(),
            "planned": dict(kept),
            "kept": dict(kept),
            "failed": dict.fromkeys(kept, 0),
            "rejected": {},
            "failures": [],
            "files": [file.as_json() for file in files],
            "plan_digest": self.digest,
            **self.made_by,
        }

    def _samples(self) -> Iterator[tuple[TarSample, TarData]]:
        for tar in self.tars:
            with map_file(self.cache.path(tar), tar.url) as data:
                for entry in read_tar_samples(data, tar.url, self.wanted.roles):
                    if self.wanted.sample(entry):
                        yield entry, data


def wanted_keys(path: Path) -> frozenset[str]:
    """The column `key` of a parquet file. Raises ShardError where it cannot be read, or holds weights."""
    table = read_selection(path)
    if "weight" in table.column_names:
        has = ", ".join(table.column_names)
        raise ShardError(f"{path}: has {has}; a selection to keep has `key`, and `weight` is for streams alone")
    return frozenset(table["key"].cast(pa.string()).to_pylist())
