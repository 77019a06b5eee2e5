"""Looking at the sources of a reshard, to decide all of it before anything is written."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.errors import ShardError
from shards.reading.tar_samples import TarSample
from shards.reading.tar_scan import TarData, member_bytes
from shards.stats import STATS_SUFFIX
from shards.storage.locations import ShardFile, find_tars
from shards.storage.manifest import read_stats
from shards.storage.shard_cache import ShardCache
from shards.tools.reshard import Resharding, Wanted
from shards.tools.survey import KeyBook, Survey, common_keys, told_names

_ARROW = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_STANDARD = {"key": pa.string(), "label": pa.int64(), "class_name": pa.string(), "synthetic": pa.bool_()}
_MADE_BY = ("model", "revision", "license", "pipeline", "scheduler", "generation")


@dataclass
class _Kept(Survey):
    """The survey of one source: of the samples that are wanted, and of those without an image."""

    wanted: Wanted = field(default_factory=Wanted)
    columns: dict[str, None] = field(default_factory=dict)
    digest: Any = field(default_factory=sha256)

    def _count(self, entry: TarSample, data: TarData, tar: ShardFile) -> None:
        if entry.image is not None and not self.wanted.sample(entry):
            return
        super()._count(entry, data, tar)
        if entry.image is None:
            return
        for extension, member in entry.members.items():
            if self.wanted.member(extension):
                self.columns[self.wanted.column(extension, entry)] = None
                # Of an image the size alone: reading it here would double the time.
                said = member.size if extension == entry.image else member_bytes(data, member)
                self.digest.update(repr((member.name, said)).encode())


class ReshardPlan:
    """Reads the sources once, a shard at a time. Memory: 8 bytes a sample, and one shard's members."""

    def __init__(self, places: Sequence[str], wanted: Wanted, cache: ShardCache | None = None) -> None:
        self._tars = [find_tars(place) for place in places]
        find_tars(places)  # refuses a shard that is named twice
        self._places, self._wanted, self._cache = places, wanted, cache or ShardCache()
        keys = KeyBook()
        self._surveys = [_Kept(roles=wanted.roles, keys=keys, wanted=wanted) for _ in places]

    @property
    def shards(self) -> int:
        """How many there are to read."""
        return sum(map(len, self._tars))

    def look(self) -> Iterator[int]:
        """Read them all; gives the number of those behind it. Raises ShardError where something is wrong with one."""
        done = 0
        for survey, tars in zip(self._surveys, self._tars, strict=True):
            for tar in tars:
                survey.add(tar, self._cache.path(tar))
                if survey.problems:
                    raise ShardError(
                        f"{survey.damaged[0]}; mend it, or leave it out by --select or naming other shards"
                    )
                done += 1
                yield done

    def decide(self) -> Resharding:
        """Raises ShardError where a key comes twice, class names disagree, or a selected key is not there."""
        self._refuse_repeated()
        total = sum(survey.samples - survey.imageless for survey in self._surveys)
        self._check_selected(total)
        self._wanted.cuts(total)
        named, classes = self._classes()
        fields, columns = self._fields(), tuple({name: None for one in self._surveys for name in one.columns})
        parts = [one.digest.hexdigest() for one in self._surveys]
        versions = [tar.version for tars in self._tars for tar in tars]  # what images of the same size hold
        identity = [parts, versions, classes, self._wanted.per_shard, self._wanted.shards]
        members = sum((survey.members for survey in self._surveys), Counter[str]())
        synthetic = sum((survey.synthetic for survey in self._surveys), Counter[bool | None]())
        tags = [name for name, said in (("synthetic", True), ("real", False)) if synthetic[said]]
        return Resharding(
            tars=tuple(tar for tars in self._tars for tar in tars),
            total=total,
            classes=classes,
            named=named,
            fields=pa.schema([field for field in fields if field.name not in _places(columns)]),
            columns=columns,
            digest=sha256(json.dumps(identity).encode()).hexdigest(),
            left_out={name: count for name, count in sorted(members.items()) if not self._wanted.member(name)},
            imageless=sum(survey.imageless for survey in self._surveys),
            tags=(*tags, "webdataset"),
            made_by=_made_by([tar for tars in self._tars for tar in tars]),
            wanted=self._wanted,
            cache=self._cache,
        )

    def _named(self) -> str:
        return " and ".join(self._places)

    def _refuse_repeated(self) -> None:
        tars = [tar for several in self._tars for tar in several]
        _, pairs = self._surveys[0].keys.repeated()
        for pair in pairs:
            both = [(tars[number], self._cache.path(tars[number])) for number in dict.fromkeys(pair)]
            for key, one, other in common_keys(both, self._wanted.roles):
                if self._wanted.select is None or key in self._wanted.select:
                    raise ShardError(f"key {key!r} stands in {one} and in {other}; a key must be that of one sample")

    def _check_selected(self, total: int) -> None:
        select = self._wanted.select
        if select is not None and total < len(select):
            missing = f"{len(select) - total:,} of {len(select):,} keys"
            raise ShardError(f"--select: {missing} are of no sample with an image in {self._named()}")
        if not total:
            raise ShardError(f"{self._named()}: no sample with an image")

    def _classes(self) -> tuple[bool, tuple[str, ...]]:
        """Whether there are names, and a name for every label. Raises ShardError where sources disagree."""
        found: dict[int, str] = {}
        for number, (survey, tars) in enumerate(zip(self._surveys, self._tars, strict=True)):
            names = _names(survey, tars)
            if number and bool(names) != bool(found):
                raise ShardError(
                    f"of {self._named()} some tell class names and others none, so equal labels may be other classes; "
                    "put an _info.json with `classes` beside those"
                )
            _check_agree(found, names, self._places[number])
            found |= names
        labels = {label for survey in self._surveys for label, _ in survey.classes if label is not None}
        last = max({*found, *labels}, default=-1)
        return bool(found), tuple(found.get(label, str(label)) for label in range(1 + last))

    def _fields(self) -> pa.Schema:
        """Fields of one plain type in every .json that has them, and the standard ones."""
        types: dict[str, set[str]] = {}
        for survey in self._surveys:
            for name, counts in survey.fields.items():
                types.setdefault(name, set()).update(counts)
        kinds = {name: _ARROW.get("".join(found - {"null"})) for name, found in types.items()}
        plain = {name: kind for name, kind in kinds.items() if kind is not None or name in _STANDARD}
        return pa.schema(list((plain | _STANDARD).items()))


def _places(columns: Sequence[str]) -> set[str]:
    return {"image_format"} | {f"{column}_{fact}" for column in columns for fact in ("offset", "size")}


def _names(survey: Survey, tars: Sequence[ShardFile]) -> dict[int, str]:
    names = dict(enumerate(told_names(tars[0])))
    for label, several in sorted(survey.names().items()):
        if len(several | {names.get(label, min(several))}) > 1:
            shown = ", ".join(sorted(several | {names.get(label, min(several))}))
            raise ShardError(f"{tars[0].url}: label {label} has several names ({shown}); mend the shards")
        names[label] = min(several)
    return names


def _check_agree(found: Mapping[int, str], names: Mapping[int, str], place: str) -> None:
    labels = {name: label for label, name in found.items()}
    for label, name in names.items():
        if found.get(label, name) != name or labels.get(name, label) != label:
            before = f"it is {found[label]!r}" if label in found else f"{name!r} has label {labels[name]}"
            raise ShardError(
                f"{place}: label {label} is {name!r}, but in the sources before it {before}; classes must agree by name"
            )


def _made_by(tars: Sequence[ShardFile]) -> dict[str, Any]:
    """What all stats files of local sources say alike of what made the samples."""
    paths = [tar.local for tar in tars if tar.local is not None]
    if len(paths) < len(tars) or not all(Path(tar.sibling(STATS_SUFFIX)).exists() for tar in tars):
        return {}
    first, *others = [read_stats(path.parent, path.stem) for path in paths]
    told = [name for name in _MADE_BY if name in first]
    return {name: first[name] for name in told if all(one.get(name) == first[name] for one in others)}
