"""Reads the samples of one tar, ours or another tool's, with all of their members."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shards.reading.members import Members, split_member_name, synthetic_flag
from shards.reading.tar_scan import TarData, TarMember, member_bytes, scan_members


@dataclass(frozen=True, slots=True)
class TarSample:
    """One sample of a tar."""

    key: str
    members: Mapping[str, TarMember]  # by extension in lower case, in the order of the tar
    image: str | None  # extension of its image
    label: int | None  # class index. None if it has none.
    metadata: Mapping[str, Any]  # the fields of its .json; empty if it has none
    problems: tuple[str, ...]

    @property
    def class_name(self) -> str | None:
        """Class name in the .json; None if there is none."""
        name = self.metadata.get("class_name")
        return name if isinstance(name, str) else None

    @property
    def synthetic(self) -> bool | None:
        """Return whether the .json says that it is synthetic; None if it does not say."""
        return synthetic_flag(self.metadata)


def read_tar_samples(data: TarData, tar: str, roles: Members) -> Iterator[TarSample]:
    """Yield every sample, in the order of their first members. Raises ShardError as `scan_members` does."""
    samples: dict[str, list[tuple[str, TarMember]]] = {}
    for member in scan_members(data, tar):
        if split := split_member_name(member.name):
            key, extension = split
            samples.setdefault(key, []).append((extension, member))
    return (_tar_sample(data, key, members, roles) for key, members in samples.items())


def _tar_sample(data: TarData, key: str, pairs: list[tuple[str, TarMember]], roles: Members) -> TarSample:
    members, problems = dict(pairs), []
    if len(members) < len(pairs):
        problems.append("two members of one extension")
    images = [extension for extension in members if extension in roles.image]
    if len(images) > 1:
        problems.append(f"several images: {', '.join(images)}")
    metadata, label = {}, None
    try:
        metadata = _metadata(data, members)
        label = _label(data, members, metadata, roles)
    except (ValueError, RecursionError) as error:
        problems.append(str(error))
    return TarSample(key, members, images[0] if images else None, label, metadata, tuple(problems))


def _metadata(data: TarData, members: Mapping[str, TarMember]) -> dict[str, Any]:
    try:
        metadata = json.loads(member_bytes(data, members["json"])) if "json" in members else {}
    except ValueError as error:
        raise ValueError(f".json: {error}") from None
    if not isinstance(metadata, dict):
        raise ValueError(f".json: {type(metadata).__name__}, not an object")
    synthetic_flag(metadata)
    return metadata


def _label(data: TarData, members: Mapping[str, TarMember], metadata: Mapping[str, Any], roles: Members) -> int | None:
    if roles.label_field is not None:
        value = metadata.get(roles.label_field)
        if value is not None and type(value) is not int:
            raise ValueError(f"{roles.label}: {value!r} is no class index")
        return value
    if roles.label not in members:
        return None
    text = member_bytes(data, members[roles.label]).strip()
    if not text.isdigit():
        raise ValueError(f".{roles.label}: {text[:40]!r} is no class index")
    return int(text)
