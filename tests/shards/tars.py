"""Tars as other tools write them, and their members according to Python's tarfile."""

import io
import mmap
import tarfile
from collections.abc import Callable, Sequence

import pytest
from hypothesis import strategies as st

from shards.errors import ShardError
from shards.reading.tar_scan import scan_members

Facts = tuple[str, int, int]


Entry = tuple[str, bytes]


FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


PNG = b"\x89PNG\r\n\x1a\n, or what begins like one"


JPG = b"\xff\xd8\xff\xe0, or what begins like one"


# Any text that can name a file, and any bytes that are not UTF-8. A "/" at the end marks a directory.
names = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b"_").decode("utf-8", "surrogateescape")),
    st.lists(st.text("aB.é", min_size=1, max_size=60), min_size=1, max_size=8).map("/".join),
).filter(lambda name: not name.endswith("/"))


def pack(files: Sequence[Entry], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar of these names and contents."""
    return pack_types([(name, data, tarfile.REGTYPE) for name, data in files], format)


def pack_types(files: Sequence[tuple[str, bytes, bytes]], format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data, kind in files:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "target" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.size = len(data) if info.isreg() or kind == b"Z" else 0
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def by_tarfile(data: bytes) -> list[Facts]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, member.offset_data, member.size) for member in tar if member.isreg()]


def scanned(data: bytes | mmap.mmap) -> list[Facts]:
    return [(member.name, member.offset, member.size) for member in scan_members(data, "x.tar")]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ShardError) as caught:
        call()
    return str(caught.value)
