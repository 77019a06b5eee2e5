"""What we write of the tar format: a header whose bytes depend on nothing but name and size, padding and end.

Format: POSIX.1-1988 ustar; see pax(1), "ustar Interchange Format".
"""

BLOCK = 512
END = b"\0" * (2 * BLOCK)
_MAX_SIZE = 8**11


def header(name: str, size: int) -> bytes:
    """The 512-byte ustar header of a regular file: mode 0644, owner 0, mtime 0, so equal content means equal bytes."""
    encoded = name.encode("ascii")
    if len(encoded) > 100 or size >= _MAX_SIZE:
        raise ValueError(f"{name!r} of {size} bytes does not fit a ustar header")
    block = bytearray(BLOCK)
    block[0 : len(encoded)] = encoded
    block[100:108] = b"0000644\0"
    block[108:124] = b"0000000\0" * 2
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"%011o\0" % 0
    block[148:156] = b" " * 8  # the checksum is computed with its own field as spaces
    block[156:157] = b"0"
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> bytes:
    """Zeros that fill a member of `size` bytes up to whole blocks."""
    return b"\0" * (-size % BLOCK)
