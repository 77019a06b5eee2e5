"""Indexes the samples of any tar: where their members are, and what their labels and metadata say."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from shards.codec import detect_format
from shards.errors import ShardError
from shards.reading.members import Members, parse_metadata, shorten, split_member_name, synthetic_flag
from shards.reading.tar_scan import TarData, TarMember, member_bytes, quote_name, scan_members

_INDEXED_ROLES = ("image", "mask", "json", "txt")
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int64()),
        ("synthetic", pa.bool_()),
        ("class_name", pa.string()),
        ("image_format", pa.string()),
        *((f"{role}_{column}", pa.int64()) for role in _INDEXED_ROLES for column in ("offset", "size")),
    ]
)
_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")
_ABSENT = TarMember("", -1, 0)


def index_tar(data: TarData, tar: str, members: Members, known: Iterable[TarMember] | None = None) -> pa.Table:
    """Return a row for each sample of a tar, in the order of their first members; columns as in SCHEMA.

    label is -1 for a sample without a label member; synthetic and class_name are null if the `.json` lacks them; an
    absent member has offset -1 and size 0. The table's metadata counts samples without an image as b"incomplete".
    known: the tar's members, if they are known without a scan.
    Raises ShardError as `scan_members` does, for a label that is no integer, and for two members of one role.
    """
    samples = _group_by_sample(scan_members(data, tar) if known is None else known, tar, members)
    complete = {key: by_role for key, by_role in samples.items() if "image" in by_role}
    rows = [_row(data, f"{tar}: sample {quote_name(key)}", key, by_role, members) for key, by_role in complete.items()]
    incomplete = str(len(samples) - len(complete))
    return pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({"incomplete": incomplete})


def _group_by_sample(all_members: Iterable[TarMember], tar: str, members: Members) -> dict[str, dict[str, TarMember]]:
    """Return the members of each sample by role."""
    roles = members.roles()
    samples: dict[str, dict[str, TarMember]] = {}
    for member in all_members:
        key, extension = split_member_name(member.name) or ("", "")
        role = roles.get(extension)
        if role is None or not key:
            continue
        sample = samples.setdefault(_as_utf8(key), {})
        if role in sample:
            both = f"{quote_name(sample[role].name)} and {quote_name(member.name)} are both the {role} of one sample"
            raise ShardError(f"{tar}, byte {member.offset}: {both}; say which with `members`, or pack again")
        sample[role] = member
    return samples


def _row(data: TarData, where: str, key: str, sample: Mapping[str, TarMember], members: Members) -> dict[str, Any]:
    metadata = parse_metadata(member_bytes(data, sample["json"])) if "json" in sample else {}
    try:
        synthetic = synthetic_flag(metadata)
    except ValueError as error:
        raise ShardError(f"{where}: {error}") from None
    class_name, image = metadata.get("class_name"), sample["image"]
    extension = image.name.lower().rpartition(".")[2]  # the format of an image whose bytes are damaged
    row: dict[str, Any] = {
        "key": key,
        "label": _label(data, where, sample, metadata, members),
        "synthetic": synthetic,
        "class_name": _as_utf8(class_name) if isinstance(class_name, str) else None,
        "image_format": detect_format(data[image.offset : image.offset + 12]) or extension.replace("jpeg", "jpg"),
    }
    for role in _INDEXED_ROLES:
        member = sample.get(role, _ABSENT)
        row[f"{role}_offset"], row[f"{role}_size"] = member.offset, member.size
    return row


def _label(
    data: TarData, where: str, sample: Mapping[str, TarMember], metadata: Mapping[str, Any], members: Members
) -> int:
    value: Any
    if members.label_field is not None:
        value = metadata.get(members.label_field)
    elif "label" not in sample:
        return -1
    else:
        text = member_bytes(data, sample["label"]).strip()
        value = int(text) if _INTEGER.fullmatch(text) else text
    if type(value) is not int or value.bit_length() > 63:
        problem = "is missing" if value is None else f"holds {shorten(value)}, no integer"
        raise ShardError(f"{where}: {members.label} {problem}; say where labels are with `members`")
    return value


def _as_utf8(text: str) -> str:
    """Escape surrogates, which stand for bytes that are not UTF-8: columns and other readers refuse them."""
    return text.encode("utf-8", "backslashreplace").decode()
