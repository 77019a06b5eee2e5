"""The samples of one tar, ours or another's, with all of their members and what their .cls and .json say."""

import json
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.errors import ShardError
from shards.reading.tar_scan import META, TarData, TarMember, Members, scan_members, synthetic_flag


@dataclass(frozen=True, slots=True)
class TarSample:
    """One sample.

    key:      the name up to the first dot of its last part, with folders: webdataset's rule.
    members:  by extension in lower case, in the order of the tar.
    image:    extension of its image; None where it has none.
    label:    class index; None where it has none.
    facts:    the fields of its .json; empty where it has none.
    problems: what is wrong with it.
    """

    key: str
    members: Mapping[str, TarMember]
    image: str | None
    label: int | None
    facts: Mapping[str, Any]
    problems: tuple[str, ...]

    @property
    def class_name(self) -> str | None:
        """As the .json tells it."""
        name = self.facts.get("class_name")
        return name if isinstance(name, str) else None

    @property
    def synthetic(self) -> bool | None:
        """As the .json tells it; None where it does not say."""
        return synthetic_flag(self.facts)


@contextmanager
def map_file(path: Path, tar: str) -> Iterator[mmap.mmap]:
    """A file as a memory map. Raises ShardError, naming `tar`, where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # mmap takes no empty file
        raise ShardError(f"{tar}: cannot be read as a tar: {error}") from None
    with data:
        yield data


def read_tar_samples(data: TarData, tar: str, roles: Members) -> Iterator[TarSample]:
    """Every sample, in the order in which their first members stand. Raises ShardError as `scan_members` does."""
    samples: dict[str, list[tuple[str, TarMember]]] = {}
    for member in scan_members(data, tar):
        folders, slash, base = member.name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if stem and dot and not META.match(member.name):
            samples.setdefault(f"{folders}{slash}{stem}", []).append((extension.lower(), member))
    return (_entry(data, key, found, roles) for key, found in samples.items())


def member_bytes(data: TarData, member: TarMember) -> bytes:
    """A member's bytes."""
    return data[member.offset : member.offset + member.size]


def _entry(data: TarData, key: str, found: list[tuple[str, TarMember]], roles: Members) -> TarSample:
    members, problems = dict(found), []
    if len(members) < len(found):
        problems.append("two members of one extension")
    images = [extension for extension in members if extension in roles.image]
    if len(images) > 1:
        problems.append(f"several images: {', '.join(images)}")
    facts, label = {}, None
    try:
        facts = _facts(data, members)
        label = _label(data, members, facts, roles)
    except (ValueError, RecursionError) as error:
        problems.append(str(error))
    return TarSample(key, members, images[0] if images else None, label, facts, tuple(problems))


def _facts(data: TarData, members: Mapping[str, TarMember]) -> dict[str, Any]:
    try:
        facts = json.loads(member_bytes(data, members["json"])) if "json" in members else {}
    except ValueError as error:
        raise ValueError(f".json: {error}") from None
    if not isinstance(facts, dict):
        raise ValueError(f".json: {type(facts).__name__}, not an object")
    synthetic_flag(facts)
    return facts


def _label(data: TarData, members: Mapping[str, TarMember], facts: Mapping[str, Any], roles: Members) -> int | None:
    if roles.label_field is not None:
        value = facts.get(roles.label_field)
        if value is not None and type(value) is not int:
            raise ValueError(f"{roles.label}: {value!r} is no class index")
        return value
    if roles.label not in members:
        return None
    text = member_bytes(data, members[roles.label]).strip()
    if not text.isdigit():
        raise ValueError(f".{roles.label}: {text[:40]!r} is no class index")
    return int(text)
