"""The tar format: headers equal those of tarfile, and tarfile reads the members."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.tarball import BLOCK_SIZE, END_OF_TAR, member_header, pack_members

NAMES = st.from_regex(r"[a-z0-9_-]{1,64}(\.[a-z.]{1,12})?", fullmatch=True)


@given(NAMES, st.integers(0, 8**11 - 1))
def test_a_header_equals_that_of_tarfile(name: str, size: int) -> None:
    reference = tarfile.TarInfo(name)
    reference.size = size
    assert member_header(name, size) == reference.tobuf(tarfile.USTAR_FORMAT)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), min_size=1))
def test_tarfile_reads_packed_members(files: dict[str, bytes]) -> None:
    data, offsets = pack_members(files.items())
    with tarfile.open(fileobj=io.BytesIO(data + END_OF_TAR)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == list(files)
        assert [member.offset_data for member in members] == offsets
        assert [tar.extractfile(member).read() for member in members] == list(files.values())  # type: ignore[union-attr]
    assert len(data) % BLOCK_SIZE == 0


@pytest.mark.parametrize("name", ["k" * 101 + ".png", "größe/ö.png", f"{'a' * 60}/{'b' * 60}.json"])
def test_tarfile_reads_names_that_ustar_cannot_hold(name: str) -> None:
    data, (offset,) = pack_members([(name, b"content")])
    with tarfile.open(fileobj=io.BytesIO(data + END_OF_TAR)) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.offset_data, data[offset : offset + 7]) == (name, offset, b"content")
