"""What we write of the tar format: a header whose bytes depend on nothing but name and size, padding and end.

Format: POSIX.1-1988 ustar, and POSIX.1-2001 pax where that is too narrow; see pax(1).
"""

import tarfile
from collections.abc import Iterable

BLOCK_SIZE = 512
END_OF_TAR = b"\0" * (2 * BLOCK_SIZE)
_MAX_SIZE = 8**11
_ZEROS = b"\0" * BLOCK_SIZE

# The fields of a header in their order: name[100] mode[8] uid[8] gid[8] | size[12] | mtime[12] | checksum[8] | type ...
_OWNER = b"0000644\0" + b"0000000\0" * 2
_MTIME = b"%011o\0" % 0
_REST = (b"0" + b"\0" * 100 + b"ustar\x0000").ljust(BLOCK_SIZE - 156, b"\0")
_FIXED_SUM = sum(_OWNER + _MTIME + b" " * 8 + _REST)  # the checksum is computed with its own field as spaces


def member_header(name: str, size: int) -> bytes:
    """The header of a regular file: mode 0644, owner 0, mtime 0, so equal content means equal bytes. 512 bytes of
    ustar; what does not fit there, a long name, one that is no ASCII, or 8 GiB, has a pax header before it."""
    if len(name) > 100 or size >= _MAX_SIZE or not name.isascii():
        return _pax_header(name, size)
    encoded = name.encode()
    digits = b"%011o" % size
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(encoded) + sum(digits))
    return b"%b%b%b\0%b%b%b" % (encoded.ljust(100, b"\0"), _OWNER, digits, _MTIME, checksum, _REST)


def pack_members(members: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    """The bytes of these files, given by name and content, in an archive; and where in them each content begins."""
    parts: list[bytes] = []
    places, end = [], 0
    for name, data in members:
        fill = -len(data) % BLOCK_SIZE
        head = member_header(name, len(data))
        parts += (head, data, _ZEROS[:fill])
        places.append(end + len(head))
        end += len(head) + len(data) + fill
    return b"".join(parts), places


def _pax_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
