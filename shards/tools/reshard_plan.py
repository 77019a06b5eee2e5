"""The options of a reshard, and its plan: all that one look at the sources decides before anything is written."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.errors import ShardError
from shards.reading.members import Members
from shards.reading.selection import read_selection
from shards.reading.tar_samples import TarSample
from shards.reading.tar_scan import TarData, member_bytes
from shards.sample import MEMBER_EXTENSIONS
from shards.stats import STATS_SUFFIX
from shards.storage.locations import ShardFile, find_tars
from shards.storage.manifest import read_stats
from shards.storage.shard_cache import ShardCache
from shards.tools.survey import KeyHashes, Survey, read_class_names, shared_keys

_ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_STANDARD_FIELDS = {"key": pa.string(), "label": pa.int64(), "class_name": pa.string(), "synthetic": pa.bool_()}
_PROVENANCE_FIELDS = ("model", "revision", "license", "pipeline", "scheduler", "generation")


@dataclass(frozen=True)
class ReshardOptions:
    """What to write."""

    per_shard: int = 1000  # samples per shard, if `shards` is None
    shards: int | None = None  # number of shards, of nearly equal size
    select: frozenset[str] | None = None  # keys to keep; None: all
    extra_members: tuple[str, ...] = ()  # extensions to keep besides the known ones
    roles: Members = field(default_factory=Members)  # which members are what

    def keeps_member(self, extension: str) -> bool:
        """Return whether members of this extension are written."""
        roles = self.roles
        return extension in (*MEMBER_EXTENSIONS, *roles.image, roles.label, roles.mask, *self.extra_members)

    def keeps_sample(self, sample: TarSample) -> bool:
        """Return whether a sample is written."""
        return sample.image is not None and (self.select is None or sample.key in self.select)

    def column(self, extension: str, sample: TarSample) -> str:
        """Return the name of a member in the index."""
        known = {sample.image: "image", self.roles.mask: "mask", self.roles.label: "cls"}
        return known.get(extension, extension)

    def shard_ranges(self, total: int) -> list[range]:
        """Return the sample numbers of each shard. Raise ShardError where a shard would be empty."""
        if self.shards is None:
            return [range(start, min(start + self.per_shard, total)) for start in range(0, total, self.per_shard)]
        if self.shards > total:
            raise ShardError(f"--shards {self.shards}: there are only {total} samples; use fewer shards")
        bounds = [total * number // self.shards for number in range(self.shards + 1)]
        return [range(start, stop) for start, stop in pairwise(bounds)]


def read_selected_keys(path: Path) -> frozenset[str]:
    """Return the column `key` of a parquet file. Raise ShardError where it is unreadable or has weights."""
    table = read_selection(path)
    if "weight" in table.column_names:
        columns = ", ".join(table.column_names)
        raise ShardError(f"{path}: has columns {columns}; only streams accept `weight`: remove it")
    return frozenset(table["key"].cast(pa.string()).to_pylist())


@dataclass(frozen=True)
class ReshardPlan:
    """All that is decided before anything is written. Imageless samples and `dropped_members` are left out."""

    tars: tuple[ShardFile, ...]  # the sources' shards, in order
    total: int  # samples to write
    classes: tuple[str, ...]  # names in label order; unless `has_class_names`, they are the labels as text
    has_class_names: bool
    fields: pa.Schema  # index columns that are fields of the .json
    columns: tuple[str, ...]  # names of the members in the index
    digest: str  # hash of samples and options; equal digests mean equal results
    dropped_members: Mapping[str, int]
    imageless: int
    tags: tuple[str, ...]
    provenance: Mapping[str, Any]  # what the sources' stats files agree on
    options: ReshardOptions


@dataclass
class _SourceSurvey(Survey):
    """A survey of one source: of the samples that are kept, and of those without an image."""

    options: ReshardOptions = field(default_factory=ReshardOptions)
    columns: dict[str, None] = field(default_factory=dict)
    digest: Any = field(default_factory=sha256)

    def _add_sample(self, sample: TarSample, data: TarData, tar: ShardFile) -> None:
        if sample.image is not None and not self.options.keeps_sample(sample):
            return
        super()._add_sample(sample, data, tar)
        if sample.image is None:
            return
        for extension, member in sample.members.items():
            if self.options.keeps_member(extension):
                self.columns[self.options.column(extension, sample)] = None
                # Of an image only the size: reading it here would double the time.
                content = member.size if extension == sample.image else member_bytes(data, member)
                self.digest.update(repr((member.name, content)).encode())


class ReshardPlanner:
    """A planner that reads the sources once, shard by shard. Memory: 8 bytes per sample, and one shard's members."""

    def __init__(self, locations: Sequence[str], options: ReshardOptions, cache: ShardCache) -> None:
        self._tars_by_source = [find_tars(location) for location in locations]
        self._tars = find_tars(locations)  # raises for a shard that is named twice
        self._locations, self._options, self._cache = locations, options, cache
        self.shard_count = len(self._tars)
        keys = KeyHashes()
        self._surveys = [_SourceSurvey(roles=options.roles, keys=keys, options=options) for _ in locations]

    def scan(self) -> Iterator[int]:
        """Read all shards; yield the number of shards read so far. Raise ShardError for a damaged shard."""
        done = 0
        for survey, tars in zip(self._surveys, self._tars_by_source, strict=True):
            for tar in tars:
                survey.add(tar, self._cache.path(tar))
                if survey.problems:
                    raise ShardError(
                        f"{survey.damaged[0]}; repair it, or leave it out: use --select or name other shards"
                    )
                done += 1
                yield done

    def plan(self) -> ReshardPlan:
        """Return the plan. Raise ShardError for a repeated or missing key, and for class names that disagree."""
        self._check_keys_unique()
        total = sum(survey.samples - survey.imageless for survey in self._surveys)
        self._check_selected(total)
        self._options.shard_ranges(total)
        names = self._class_names()
        labels = {label for survey in self._surveys for label, _ in survey.classes if label is not None}
        classes = tuple(names.get(label, str(label)) for label in range(1 + max({*names, *labels}, default=-1)))
        columns = tuple({name: None for survey in self._surveys for name in survey.columns})
        members = sum((survey.members for survey in self._surveys), Counter[str]())
        flags = sum((survey.synthetic for survey in self._surveys), Counter[bool | None]())
        surveys = [survey.digest.hexdigest() for survey in self._surveys]
        versions = [tar.version for tar in self._tars]  # changes if an image changes but keeps its size
        identity = [surveys, versions, classes, self._options.per_shard, self._options.shards]
        return ReshardPlan(
            tars=tuple(self._tars),
            total=total,
            classes=classes,
            has_class_names=bool(names),
            fields=self._fields(columns),
            columns=columns,
            digest=sha256(json.dumps(identity).encode()).hexdigest(),
            dropped_members={ext: n for ext, n in sorted(members.items()) if not self._options.keeps_member(ext)},
            imageless=sum(survey.imageless for survey in self._surveys),
            tags=(*(["synthetic"] if flags[True] else []), *(["real"] if flags[False] else []), "webdataset"),
            provenance=_provenance(self._tars),
            options=self._options,
        )

    def _sources(self) -> str:
        return " and ".join(self._locations)

    def _check_keys_unique(self) -> None:
        select = self._options.select
        _, pairs = self._surveys[0].keys.repeated()
        for pair in pairs:
            tars = [self._tars[number] for number in dict.fromkeys(pair)]
            for key, first, second in shared_keys([(tar, self._cache.path(tar)) for tar in tars], self._options.roles):
                if select is None or key in select:
                    raise ShardError(f"key {key!r} is in {first} and in {second}; every sample needs its own key")

    def _check_selected(self, total: int) -> None:
        select = self._options.select
        if select is not None and total < len(select):
            missing = f"{len(select) - total:,} of {len(select):,} keys"
            raise ShardError(f"--select: {missing} have no sample with an image in {self._sources()}")
        if not total:
            raise ShardError(f"{self._sources()}: no sample with an image")

    def _class_names(self) -> dict[int, str]:
        """Return the names of the labels, or none. Raise ShardError where sources disagree."""
        names: dict[int, str] = {}
        for number, (survey, tars) in enumerate(zip(self._surveys, self._tars_by_source, strict=True)):
            source_names = _source_class_names(survey, tars)
            if number and bool(source_names) != bool(names):
                raise ShardError(
                    f"of {self._sources()} some have class names and others do not, so equal labels may mean different "
                    "classes; put an _info.json with `classes` beside the shards without names"
                )
            labels = {name: label for label, name in names.items()}
            for label, name in source_names.items():
                if names.get(label, name) != name or labels.get(name, label) != label:
                    known = (
                        f"label {label} is {names[label]!r}" if label in names else f"{name!r} has label {labels[name]}"
                    )
                    raise ShardError(
                        f"{self._locations[number]}: label {label} is {name!r}, but in the sources before it {known}; "
                        "classes must agree"
                    )
            names |= source_names
        return names

    def _fields(self, columns: Sequence[str]) -> pa.Schema:
        """Return the standard fields, and those that have one plain type in every .json."""
        types: dict[str, set[str]] = {}
        for survey in self._surveys:
            for name, counts in survey.fields.items():
                types.setdefault(name, set()).update(counts)
        plain = {name: _ARROW_TYPES.get("".join(kinds - {"null"})) for name, kinds in types.items()}
        reserved = {"image_format"} | {f"{column}_{part}" for column in columns for part in ("offset", "size")}
        fields = {name: kind for name, kind in plain.items() if kind is not None or name in _STANDARD_FIELDS}
        return pa.schema([item for item in (fields | _STANDARD_FIELDS).items() if item[0] not in reserved])


def _source_class_names(survey: Survey, tars: Sequence[ShardFile]) -> dict[int, str]:
    names = {label: {name} for label, name in enumerate(read_class_names(tars[0]))}
    for label, name in survey.classes:
        if label is not None and name is not None:
            names.setdefault(label, set()).add(name)
    for label in sorted(names):
        if len(names[label]) > 1:
            raise ShardError(f"{tars[0].url}: label {label} has several names: {', '.join(sorted(names[label]))}")
    return {label: min(names[label]) for label in sorted(names)}


def _provenance(tars: Sequence[ShardFile]) -> dict[str, Any]:
    """Return the provenance fields that are equal in the stats files of all shards; none if a stats file is missing."""
    paths = [tar.local for tar in tars if tar.local is not None]
    if len(paths) < len(tars) or not all(Path(tar.sibling(STATS_SUFFIX)).exists() for tar in tars):
        return {}
    first, *others = [read_stats(path.parent, path.stem) for path in paths]
    names = [name for name in _PROVENANCE_FIELDS if name in first]
    return {name: first[name] for name in names if all(stats.get(name) == first[name] for stats in others)}
