"""Finds the members of any tar by its headers.

Nothing is unpacked: the name of a member is data, never a path. Formats: POSIX.1-1988 ustar and POSIX.1-2001 pax, see
pax(1); the GNU variant, see "Basic Tar Format" in GNU tar's manual; and Seventh Edition's, which ustar extends.
"""

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shards.errors import ShardError
from shards.tarball import BLOCK_SIZE

TarData = bytes | mmap.mmap

# Values of a header's type field.
_REGULAR, _WITHOUT_DATA = b"07\0", b"123456"  # without: links, devices, directories, pipes
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"xX", b"g", b"L", b"K"
_INCOMPLETE = {b"S": "stored sparse", b"M": "continued from another volume"}
_PAX_SPARSE = "GNU.sparse."
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file in a tar. offset: where its data begins; size: its length; both in bytes."""

    name: str
    offset: int
    size: int


@contextmanager
def map_file(path: Path, name: str) -> Iterator[mmap.mmap]:
    """Map a file into memory for a `with` block. Raises ShardError, which calls it `name`, if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # mmap refuses an empty file
        raise ShardError(f"{name}: cannot be read as a tar: {error}") from None
    with data:
        yield data


def member_bytes(data: TarData, member: TarMember) -> bytes:
    """Return the content of a member."""
    return data[member.offset : member.offset + member.size]


def quote_name(name: str) -> str:
    """Return a member's name for a message. It may have any length and hold any character."""
    return repr(name[:200])


def scan_members(data: TarData, tar: str, start: int = 0) -> Iterator[TarMember]:
    """Yield the regular files of a tar in its order, from the header at byte `start` on.

    Bytes of a name that are not UTF-8 become lone surrogates, as in `tarfile`. Raises ShardError, with `tar` and the
    byte offset, for a wrong checksum, a member that is cut short or stored in part, a compressed tar, a tar without the
    zero block that marks its end (it was cut between two members), and data behind that block.
    """
    global_records: dict[str, str] = {}  # pax records of all following members
    records: dict[str, str] = {}  # extended records of the next member; the first header wins
    place = start
    while (block := data[place : place + BLOCK_SIZE]).count(0) < BLOCK_SIZE:
        kind, size = _parse_header(data, block, tar, place)
        if kind in _PAX:
            records = _pax_records(data, tar, place, size) | records
        elif kind == _PAX_GLOBAL:
            global_records |= _pax_records(data, tar, place, size)
        elif kind == _LONG_NAME:
            records.setdefault("path", _text(_extended_content(data, tar, place, size)))
        elif kind != _LONG_LINK:
            name, size = _name_and_size(block, kind, size, global_records | records, f"{tar}, byte {place}")
            if (missing := place + BLOCK_SIZE + size - len(data)) > 0:
                raise ShardError(
                    f"{tar}, byte {place}: member {quote_name(name)} of {size} bytes is cut short by {missing}"
                )
            if kind in _REGULAR and not (kind == b"\0" and name.endswith("/")):  # a directory before ustar
                yield TarMember(name, place + BLOCK_SIZE, size)
            records = {}
        place += BLOCK_SIZE + size + -size % BLOCK_SIZE
    _check_end(data, tar, place)


def member_at(data: TarData, offset: int) -> TarMember | None:
    """Return the regular file whose data begins at a byte, by the header before it alone; None if there is none."""
    block = data[offset - BLOCK_SIZE : offset]
    size = _number(block[124:136])
    return None if size is None or block[156:157] not in _REGULAR else TarMember(_short_name(block), offset, size)


def _parse_header(data: TarData, block: bytes, tar: str, place: int) -> tuple[bytes, int]:
    """Return the type and size fields of a header. Raises ShardError for a wrong checksum."""
    summed = block[:148] + b" " * 8 + block[156:]
    stated, total = _number(block[148:156]), sum(summed)
    # Some old tars added signed bytes.
    if len(block) < BLOCK_SIZE or (stated != total and stated != total - 256 * sum(byte > 127 for byte in summed)):
        end = min(place, len(data))  # the padding before may be cut, too
        raise ShardError(f"{tar}, byte {end}: {_describe_damage(block, place)}")
    size = _number(block[124:136])
    if size is None:
        raise ShardError(f"{tar}, byte {place}: the size {block[124:136]!r} is no number")
    return block[156:157], size


def _describe_damage(block: bytes, place: int) -> str:
    """Return what is wrong with a block that should be a header."""
    compression = next((name for magic, name in _COMPRESSED.items() if block.startswith(magic)), None)
    if place == 0 and compression:
        return f"compressed by {compression}, so its members have no fixed offsets; unpack it"
    if place == 0 and block:
        return f"no tar, it begins with {block[:24]!r}; fetch it again"
    short = len(block) < BLOCK_SIZE
    what = "ends without its end mark, so it was cut short" if short else "has a header with a wrong checksum"
    return f"the tar {what}; fetch it again"


def _name_and_size(block: bytes, kind: bytes, size: int, records: Mapping[str, str], where: str) -> tuple[str, int]:
    """Return the name and the data size of a member, by its own header and the extended records."""
    name = records.get("path") or _short_name(block)
    defect = _INCOMPLETE.get(kind) or (_INCOMPLETE[b"S"] if _PAX_SPARSE in records else None)
    if defect:
        raise ShardError(f"{where}: member {quote_name(name)} is {defect}; pack the tar again without that")
    if kind in _WITHOUT_DATA:
        return name, 0
    stated = records.get("size", str(size))
    if not (stated.isascii() and stated.isdigit() and len(stated) < 20):
        raise ShardError(f"{where}: member {quote_name(name)} has the size {quote_name(stated)}, which is no number")
    return name, int(stated)


def _short_name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""  # GNU stores times there
    return f"{prefix}/{name}" if prefix else name


def _number(field: bytes) -> int | None:
    """Parse octal digits, or base 256 after a byte of 0x80 (GNU, for sizes from 8 GiB on); None for anything else."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    return None if digits.strip(b"01234567") else int(digits or b"0", 8)


def _extended_content(data: TarData, tar: str, place: int, size: int) -> bytes:
    content = data[place + BLOCK_SIZE : place + BLOCK_SIZE + size]
    if len(content) < size:
        raise ShardError(f"{tar}, byte {place}: an extended header of {size} bytes is cut short; fetch it again")
    return content


def _pax_records(data: TarData, tar: str, place: int, size: int) -> dict[str, str]:
    """Return the records that affect where a member is. Each is "LENGTH NAME=VALUE\\n"; LENGTH counts all of it."""
    content, start, records = _extended_content(data, tar, place, size), 0, dict[str, str]()
    while start < len(content):
        digits = content[start : start + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = content[start : start + length]
        name, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < length or not record.endswith(b"\n"):
            raise ShardError(f"{tar}, byte {place}: damaged pax header: {content[start : start + 40]!r}")
        # All other records are dropped, because a tar may have a million of them.
        if _text(name) in ("path", "size"):
            records[_text(name)] = value.decode("utf-8", "surrogateescape")
        elif name.startswith(_PAX_SPARSE.encode()):
            records[_PAX_SPARSE] = ""
        start += length
    return records


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _check_end(data: TarData, tar: str, place: int) -> None:
    """Raise ShardError for data behind the end mark."""
    for start in range(place, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        if rest := chunk.lstrip(b"\0"):
            where = f"{tar}, byte {start + len(chunk) - len(rest)}"
            raise ShardError(f"{where}: data behind the end mark: damage, or tars joined otherwise than by tar -A")
