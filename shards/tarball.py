"""Writes the tar format, with headers whose bytes depend on name and size alone.

Format: POSIX.1-1988 ustar, and POSIX.1-2001 pax for values that do not fit; see pax(1).
"""

import tarfile
from collections.abc import Iterable

BLOCK_SIZE = 512
END_OF_TAR = b"\0" * (2 * BLOCK_SIZE)
_MAX_SIZE = 8**11
_ZEROS = b"\0" * BLOCK_SIZE

# The fields of a header in order: name[100] mode[8] uid[8] gid[8] | size[12] | mtime[12] | checksum[8] | type ...
_MODE_AND_OWNER = b"0000644\0" + b"0000000\0" * 2
_MTIME = b"%011o\0" % 0
_REST = (b"0" + b"\0" * 100 + b"ustar\x0000").ljust(BLOCK_SIZE - 156, b"\0")
_FIXED_SUM = sum(_MODE_AND_OWNER + _MTIME + b" " * 8 + _REST)  # the checksum counts its own field as spaces


def member_header(name: str, size: int) -> bytes:
    """Return the header of a regular file: 512 bytes of ustar, with mode 0644, owner 0 and mtime 0.

    A long or non-ASCII name, or a size from 8 GiB on, has a pax header before it.
    """
    if len(name) > 100 or size >= _MAX_SIZE or not name.isascii():
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    encoded = name.encode()
    digits = b"%011o" % size
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(encoded) + sum(digits))
    return b"%b%b%b\0%b%b%b" % (encoded.ljust(100, b"\0"), _MODE_AND_OWNER, digits, _MTIME, checksum, _REST)


def pack_members(members: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    """Return the archive bytes of files, given by name and content, and the offset of each content in them."""
    parts: list[bytes] = []
    offsets, end = [], 0
    for name, data in members:
        padding = -len(data) % BLOCK_SIZE
        header = member_header(name, len(data))
        parts += (header, data, _ZEROS[:padding])
        offsets.append(end + len(header))
        end += len(header) + len(data) + padding
    return b"".join(parts), offsets
