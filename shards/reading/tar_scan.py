"""Finding the samples of a tar that others wrote, by its headers: where each member lies, and what its label is.

Nothing is unpacked: the name of a member is data, never a path. Formats: POSIX.1-1988 ustar and POSIX.1-2001 pax, see
pax(1); the GNU variant, see "Basic Tar Format" in GNU tar's manual; and Seventh Edition's, which ustar extends.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shards.codec import detect_format
from shards.errors import ShardError
from shards.tarball import BLOCK_SIZE

TarData = bytes | mmap.mmap

_FILE, _NO_DATA, _PAX, _GLOBAL, _LONG_NAME, _LONG_LINK = b"07\0", b"123456", b"xX", b"g", b"L", b"K"
_IN_PART = {b"S": "stored sparse", b"M": "continued from another volume"}
_SPARSE = "GNU.sparse."
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 1 << 20

_PLACED = ("image", "mask", "json", "txt")
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int64()),
        ("synthetic", pa.bool_()),
        ("class_name", pa.string()),
        ("image_format", pa.string()),
        *((f"{role}_{what}", pa.int64()) for role in _PLACED for what in ("offset", "size")),
    ]
)
META = re.compile(r"__[^/]*__(/|$)")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file in a tar. offset: where its data begins; size: its length; both in bytes."""

    name: str
    offset: int
    size: int


_ABSENT = TarMember("", -1, 0)


@dataclass(frozen=True)
class Members:
    """Which member of a sample is what, by its extension: all that follows the first dot, in lower case.

    image: any of these. label: the extension of an integer in text, or `json.NAME` for a field of the `.json`.
    mask:  a PNG of class indices. An extension that is named twice is the label's, or else the mask's.
    """

    image: tuple[str, ...] = ("png", "jpg", "jpeg", "webp")
    label: str = "cls"
    mask: str = "mask.png"

    def roles(self) -> dict[str, str]:
        """What each extension is: image, mask, label, json or txt. No other member is ever looked at."""
        return {"json": "json", "txt": "txt", **dict.fromkeys(self.image, "image"), self.mask: "mask"} | (
            {} if self.label_field else {self.label: "label"}
        )

    @property
    def label_field(self) -> str | None:
        """The field of the `.json` that is the label."""
        return self.label.removeprefix("json.") if self.label.startswith("json.") else None


def index_tar(data: TarData, tar: str, members: Members, places: Iterable[TarMember] | None = None) -> pa.Table:
    """A row for each sample of a tar, in the order in which their first members stand; columns as in SCHEMA.

    label is -1 where the sample has no such member; synthetic and class_name are null where the `.json` does not say;
    offset is -1 and size 0 of a member that is absent. Members of one sample need not stand together. Samples without
    an image are left out, and counted in the table's metadata as b"incomplete". Keys are webdataset's: the name up to
    the first dot of its last part, with folders.

    places: the tar's members, where they are known already. Raises ShardError as `scan_members` does, and, naming the
    sample, for a label that is no integer, for two members of one extension and for two images.
    """
    samples = _samples(scan_members(data, tar) if places is None else places, tar, members)
    whole = {key: found for key, found in samples.items() if "image" in found}
    rows = [_row(data, f"{tar}: sample {_quoted(key)}", key, found, members) for key, found in whole.items()]
    incomplete = str(len(samples) - len(whole))
    return pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({"incomplete": incomplete})


def scan_members(data: TarData, tar: str, start: int = 0) -> Iterator[TarMember]:
    """The regular files of a tar, in its order, from the header at byte `start` on; all else in it is passed over.

    Bytes of a name that are no UTF-8 come as lone surrogates, as in `tarfile`. Raises ShardError, with `tar` and the
    byte offset, for a wrong checksum, a member that is cut short or stored in part, a compressed tar, one that ends
    without the zero block that marks its end (so it was cut between two members), and for anything behind that block.
    """
    everywhere: dict[str, str] = {}  # what pax headers say of all members that follow
    own: dict[str, str] = {}  # what extended headers say of the next member; the outermost one wins
    place = start
    while (block := data[place : place + BLOCK_SIZE]).count(0) < BLOCK_SIZE:
        kind, size = _header(data, block, tar, place)
        if kind in _PAX:
            own = _pax_records(data, tar, place, size) | own
        elif kind == _GLOBAL:
            everywhere |= _pax_records(data, tar, place, size)
        elif kind == _LONG_NAME:
            own.setdefault("path", _text(_content(data, tar, place, size)))
        elif kind != _LONG_LINK:
            name, size = _described(block, kind, size, everywhere | own, f"{tar}, byte {place}")
            if (missing := place + BLOCK_SIZE + size - len(data)) > 0:
                raise ShardError(
                    f"{tar}, byte {place}: member {_quoted(name)} of {size} bytes is cut short by {missing}"
                )
            if kind in _FILE and not (kind == b"\0" and name.endswith("/")):  # before ustar, a directory
                yield TarMember(name, place + BLOCK_SIZE, size)
            own = {}
        place += BLOCK_SIZE + size + -size % BLOCK_SIZE
    _check_end(data, tar, place)


def member_at(data: TarData, offset: int) -> TarMember | None:
    """The regular file whose data begins at a byte, by the header before it alone; None where none says that."""
    block = data[offset - BLOCK_SIZE : offset]
    size = _number(block[124:136])
    return None if size is None or block[156:157] not in _FILE else TarMember(_short_name(block), offset, size)


def _header(data: TarData, block: bytes, tar: str, place: int) -> tuple[bytes, int]:
    """Type and size in a header, after its checksum was found to be right."""
    rest = block[:148] + b" " * 8 + block[156:]
    stated, total = _number(block[148:156]), sum(rest)
    # Some old tars added signed bytes.
    if len(block) < BLOCK_SIZE or (stated != total and stated != total - 256 * sum(byte > 127 for byte in rest)):
        end = min(place, len(data))  # padding may be cut, too
        raise ShardError(f"{tar}, byte {end}: {_no_header(block, place)}")
    size = _number(block[124:136])
    if size is None:
        raise ShardError(f"{tar}, byte {place}: the size {block[124:136]!r} is no number")
    return block[156:157], size


def _no_header(block: bytes, place: int) -> str:
    """What is wrong with a block that should be one."""
    compressed = next((name for magic, name in _COMPRESSED.items() if block.startswith(magic)), None)
    if place == 0 and compressed:
        return f"compressed by {compressed}, where no member can be found by its place; unpack it"
    if place == 0 and block:
        return f"no tar, it begins with {block[:24]!r}; fetch it again"
    short = len(block) < BLOCK_SIZE
    what = "ends without its end mark, so it was cut short" if short else "has a header with a wrong checksum"
    return f"the tar {what}; fetch it again"


def _described(block: bytes, kind: bytes, size: int, facts: Mapping[str, str], where: str) -> tuple[str, int]:
    """Name, and size of the data that follows, of a member by its own header and by extended ones."""
    name = facts.get("path") or _short_name(block)
    part = _IN_PART.get(kind) or (_IN_PART[b"S"] if _SPARSE in facts else None)
    if part:
        raise ShardError(f"{where}: member {_quoted(name)} is {part}; pack the tar again without that")
    if kind in _NO_DATA:  # links, devices, directories, pipes
        return name, 0
    stated = facts.get("size", str(size))
    if not (stated.isascii() and stated.isdigit() and len(stated) < 20):
        raise ShardError(f"{where}: member {_quoted(name)} has the size {_quoted(stated)}, which is no number")
    return name, int(stated)


def _short_name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""  # GNU has other things there
    return f"{prefix}/{name}" if prefix else name


def _number(field: bytes) -> int | None:
    """Octal digits, or after a byte of 0x80 base 256 (GNU, for sizes from 8 GiB on); None for anything else."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    return None if digits.strip(b"01234567") else int(digits or b"0", 8)


def _content(data: TarData, tar: str, place: int, size: int) -> bytes:
    content = data[place + BLOCK_SIZE : place + BLOCK_SIZE + size]
    if len(content) < size:
        raise ShardError(f"{tar}, byte {place}: an extended header of {size} bytes is cut short; fetch it again")
    return content


def _pax_records(data: TarData, tar: str, place: int, size: int) -> dict[str, str]:
    """The records that say where a member is. Each is "LENGTH NAME=VALUE\\n"; the length counts all of it."""
    content, start, records = _content(data, tar, place, size), 0, dict[str, str]()
    while start < len(content):
        digits = content[start : start + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = content[start : start + length]
        name, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < length or not record.endswith(b"\n"):
            raise ShardError(f"{tar}, byte {place}: damaged pax header: {content[start : start + 40]!r}")
        # Nothing else is kept: a tar can say a million things of every member.
        if _text(name) in ("path", "size"):
            records[_text(name)] = value.decode("utf-8", "surrogateescape")
        elif name.startswith(_SPARSE.encode()):
            records[_SPARSE] = ""
        start += length
    return records


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _check_end(data: TarData, tar: str, place: int) -> None:
    for start in range(place, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        if rest := chunk.lstrip(b"\0"):
            where = f"{tar}, byte {start + len(chunk) - len(rest)}"
            raise ShardError(f"{where}: data behind the end mark: damage, or tars joined otherwise than by tar -A")


def _samples(places: Iterable[TarMember], tar: str, members: Members) -> dict[str, dict[str, tuple[str, TarMember]]]:
    """For each key what its members are: role, then extension and place."""
    roles = members.roles()
    samples: dict[str, dict[str, tuple[str, TarMember]]] = {}
    for member in places:
        folders, slash, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        role = roles.get(extension.lower())
        if role is None or not stem or META.match(member.name):
            continue
        found = samples.setdefault(_utf8(f"{folders}{slash}{stem}"), {})
        if role in found:
            both = f"{_quoted(found[role][1].name)} and {_quoted(member.name)} are both the {role} of one sample"
            raise ShardError(f"{tar}, byte {member.offset}: {both}; say which with `members`, or pack again")
        found[role] = (extension, member)
    return samples


def _row(data: TarData, where: str, key: str, found: Mapping[str, tuple[str, TarMember]], members: Members) -> dict[str, Any]:
    facts = parse_metadata(_bytes(data, found["json"][1])) if "json" in found else {}
    extension, image = found["image"]
    last = extension.lower().rpartition(".")[2]
    row: dict[str, Any] = {
        "key": key,
        "label": _label(data, where, found, facts, members),
        "synthetic": _synthetic(where, facts),
        "class_name": _utf8(facts["class_name"]) if isinstance(facts.get("class_name"), str) else None,
        # What the bytes are, whatever they are called; the name where they are damaged.
        "image_format": detect_format(data[image.offset : image.offset + 12]) or {"jpeg": "jpg"}.get(last, last),
    }
    for role in _PLACED:
        member = found[role][1] if role in found else _ABSENT
        row[f"{role}_offset"], row[f"{role}_size"] = member.offset, member.size
    return row


def parse_metadata(text: bytes) -> dict[str, Any]:
    """The fields of a `.json`; none where it is absent, damaged or no object."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def synthetic_flag(facts: Mapping[str, Any]) -> bool | None:
    """What the fields of a `.json` say; None where they do not. Raises ValueError for what is neither true nor false:
    taken for silence, it would make a synthetic image a real one."""
    said = facts.get("synthetic")
    if said is not None and not isinstance(said, bool):
        raise ValueError(f".json: synthetic is {_shown(said)}, neither true nor false")
    return said


def _synthetic(where: str, facts: Mapping[str, Any]) -> bool | None:
    try:
        return synthetic_flag(facts)
    except ValueError as error:
        raise ShardError(f"{where}: {error}") from None


def _label(
    data: TarData, where: str, found: Mapping[str, tuple[str, TarMember]], facts: Mapping[str, Any], members: Members
) -> int:
    value: Any
    if members.label_field is not None:
        value = facts.get(members.label_field)
    elif "label" not in found:
        return -1
    else:
        text = _bytes(data, found["label"][1]).strip()
        value = int(text) if _INTEGER.fullmatch(text) else text
    if type(value) is not int or value.bit_length() > 63:
        found_there = "is missing" if value is None else f"holds {_shown(value)}, no integer"
        raise ShardError(f"{where}: {members.label} {found_there}; say where labels are with `members`")
    return value


def _bytes(data: TarData, member: TarMember) -> bytes:
    return data[member.offset : member.offset + member.size]


def _utf8(text: str) -> str:
    """Surrogates, which stand for what is no UTF-8, written out: columns and other readers take none."""
    return text.encode("utf-8", "backslashreplace").decode()


def _quoted(text: str) -> str:
    """For messages: a name may have any length and any character."""
    return repr(text[:200])


def _shown(value: Any) -> str:
    """The same of any JSON value; a list may be nested too deeply to be written."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)[:60]
