"""Members of tars of other tools: every member is listed, or an error names the position of the damage."""

import bz2
import gzip
import io
import lzma
import mmap
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shards.errors import ShardError
from tests.shards.tars import FORMATS, JPG, PNG, by_tarfile, names, pack, pack_types, refusal, scanned

TYPES = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"Z"]


LONG = "é" * 30 + "/" + "é" * 40 + ".txt"  # takes a prefix, or an extended header


entries = st.lists(st.tuples(names, st.binary(max_size=1100), st.sampled_from(TYPES)), max_size=6)


@given(files=entries, format=st.sampled_from(sorted(FORMATS)))
def test_members_equal_those_of_tarfile(files: list[tuple[str, bytes, bytes]], format: str) -> None:
    try:
        data = pack_types(files, FORMATS[format])
    except ValueError:  # too long for ustar
        assume(False)
    assert scanned(data) == by_tarfile(data)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_truncated_tar_is_refused_at_its_end(format: str) -> None:
    files = [("a.txt", b"1" * 700), (LONG, b""), ("b.txt", b"2" * 512), ("c.txt", b"3")]
    data = pack(files, FORMATS[format])
    members = scanned(data)
    assert len(members) == 4
    marked = members[-1][1] + 512 + 512  # the padding of the last data, and the zero block that marks the end
    for cut in range(marked):
        text = refusal(lambda cut=cut: scanned(data[:cut]))
        assert text.startswith("x.tar, byte ")
        place = int(text.split("byte ")[1].split(":")[0])
        assert cut - 512 - 700 <= place <= cut  # the header of the truncated member, or the end
        inside = [name for name, offset, size in members if offset <= cut < offset + size]
        assert not inside or f"{inside[0]!r} of " in text
    for cut in range(marked, len(data)):
        assert scanned(data[:cut]) == members


@given(data=st.data(), format=st.sampled_from(sorted(FORMATS)))
def test_a_damaged_header_byte_is_detected(data: st.DataObject, format: str) -> None:
    tar = pack([(LONG, b"1" * 700), ("b.txt", b"2")], FORMATS[format])
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        header = data.draw(st.sampled_from([member.offset_data - 512 for member in opened] + [0]))
    place, byte = header + data.draw(st.integers(0, 511)), data.draw(st.integers(0, 255))
    damaged = tar[:place] + bytes([byte]) + tar[place + 1 :]
    try:
        members = scanned(damaged)
    except ShardError as error:
        assert str(error).startswith("x.tar")  # noqa: PT017
    else:
        assert members == scanned(tar)


@given(data=st.binary(max_size=2000))
@example(b"\0" * 511)
@example(pack([("a.cls", b"1")])[:156] + b"x" + b"\0" * 2000)
def test_arbitrary_bytes_are_refused_or_empty(data: bytes) -> None:
    try:
        assert scanned(data) == []
    except ShardError as error:
        assert str(error).startswith("x.tar")  # noqa: PT017


def record(name: str, value: str) -> bytes:
    """Return a pax record, whose length includes its own digits."""
    rest = f" {name}={value}\n".encode("utf-8", "surrogateescape")
    return next(b"%d" % n + rest for n in range(len(rest), len(rest) + 9) if len(b"%d" % n) + len(rest) == n)


valid_records = st.builds(
    lambda path, size, comment: b"".join(map(record, ("path", "size", "comment"), (path, str(size), comment))),
    *(names, st.integers(0, 1100), names),
)


@given(records=st.binary(max_size=200) | valid_records, kind=st.sampled_from([tarfile.XHDTYPE, tarfile.XGLTYPE]))
@example(b"11 size=1_0\n", tarfile.XHDTYPE)
@example(b"13 size=99999999999999999999999\n", tarfile.XHDTYPE)
@example(b"999999999999999999999 path=a\n", tarfile.XHDTYPE)
@example(b"0 path=a\n", tarfile.XHDTYPE)
def test_pax_headers_are_refused_or_read_as_by_tarfile(records: bytes, kind: bytes) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, len(records)
    block = header.tobuf(tarfile.USTAR_FORMAT)
    data = block + records + b"\0" * (-len(records) % 512) + pack([("a.txt", b"1" * 600), ("b.txt", b"2" * 600)])
    try:
        members = scanned(data)
    except ShardError:
        return
    assert members == by_tarfile(data)


def test_a_pax_header_sets_name_and_size() -> None:
    records = record("path", "größe/" + "x" * 200) + record("size", "600")
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    short = tarfile.TarInfo("short").tobuf(tarfile.USTAR_FORMAT)  # the header states 0 bytes
    data = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + short + b"1" * 1024
    assert scanned(data + pack([("b.txt", b"2")])) == [("größe/" + "x" * 200, 1536, 600), ("b.txt", 3072, 1)]


def test_checksums_of_signed_bytes_are_accepted() -> None:
    data = bytearray(pack([("größe.txt", b"1")]))
    signed = sum(byte - 256 * (byte > 127) for byte in bytes(data[:148]) + b" " * 8 + bytes(data[156:512]))
    assert signed != int(data[148:154], 8)
    data[148:156] = b"%06o\0 " % signed
    assert scanned(bytes(data)) == by_tarfile(bytes(data)) == [("größe.txt", 512, 1)]


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_sizes_beyond_octal_digits_are_read(tmp_path: Path, format: str) -> None:
    info = tarfile.TarInfo("big.bin")
    info.size = 8**11 + 5  # in base 256, or as a pax record; the data is a hole in the file
    header = info.tobuf(FORMATS[format])
    after = len(header) + info.size + -info.size % 512
    with (tmp_path / "x.tar").open("wb+") as file:
        file.write(header)
        file.seek(after)
        file.write(pack([("a.txt", b"1")]))
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            assert scanned(data) == [("big.bin", len(header), info.size), ("a.txt", after + 512, 1)]


def test_global_pax_records_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all é"}) as tar:
        for name in ("a.txt", "b" * 120):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert scanned(buffer.getvalue()) == by_tarfile(buffer.getvalue())
    assert len(scanned(buffer.getvalue())) == 2


@pytest.mark.parametrize("format", ["gnu", "oldgnu", "pax", "ustar", "v7"])
def test_tars_of_gnu_tar_are_read(tmp_path: Path, format: str) -> None:
    folder = tmp_path / "in" / "it"
    folder.mkdir(parents=True)
    for name in ("b.jpg", "a.cls", "größe.jpg", "x" * 90 + ".jpg", "empty.txt"):
        (folder / name).write_bytes(name.encode() * (name != "empty.txt"))
    if format != "v7":  # which has no place for such names, and no pipes
        (folder / ("y" * 90)).mkdir()
        (folder / ("y" * 90) / "z.jpg").write_bytes(b"far")
        os.mkfifo(folder / "pipe.jpg")
    (folder / "soft.jpg").symlink_to("b.jpg")
    os.link(folder / "b.jpg", folder / "hard.jpg")
    tar = tmp_path / "x.tar"
    subprocess.run(["tar", f"--format={format}", "-cf", tar, "-C", tmp_path, "in"], check=True)
    members = scanned(tar.read_bytes())
    assert members == by_tarfile(tar.read_bytes())
    assert len(members) == (5 if format == "v7" else 6)
    for name, offset, size in members:
        stored = tar.read_bytes()[offset : offset + size]
        assert stored == (tmp_path / name).read_bytes()


def test_times_in_gnu_backup_headers_are_no_prefix(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(JPG)
    tar = tmp_path / "x.tar"
    backup = ["tar", "--format=gnu", "--listed-incremental=state", "-cf", tar, "in"]
    subprocess.run(backup, cwd=tmp_path, check=True)
    (member,) = scanned(tar.read_bytes())
    assert member[0] == "in/a.jpg" != by_tarfile(tar.read_bytes())[0][0]
    assert tar.read_bytes()[member[1] :][: member[2]] == JPG


def test_links_and_directories_have_no_data() -> None:
    headers = b""
    for name, kind in (("folder/", tarfile.AREGTYPE), ("folder", tarfile.DIRTYPE), ("link.png", tarfile.SYMTYPE)):
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, 0 if kind == tarfile.AREGTYPE else 700
        headers += info.tobuf(tarfile.USTAR_FORMAT)
    data = headers + pack([("a.png", PNG)])
    assert scanned(data) == by_tarfile(data) == [("a.png", 2048, len(PNG))]


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_a_sparse_member_is_refused_by_name(tmp_path: Path, format: str) -> None:
    with (tmp_path / "holes.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 20)
        file.write(b"end")
    subprocess.run(["tar", f"--format={format}", "--sparse", "-cf", "x.tar", "holes.jpg"], cwd=tmp_path, check=True)
    text = refusal(lambda: scanned((tmp_path / "x.tar").read_bytes()))
    assert "holes.jpg" in text
    assert "sparse" in text


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    ("name", "compress"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress), ("zstd", zstd)]
)
def test_a_compressed_tar_is_refused(name: str, compress: Callable[[bytes], bytes]) -> None:
    assert f"x.tar, byte 0: compressed by {name}" in refusal(lambda: scanned(compress(pack([("a.cls", b"1")]))))


def test_a_failed_download_is_refused_with_its_content() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    page = b"<!DOCTYPE html><title>404</title>" + b" " * 600
    assert "x.tar, byte 0" in refusal(lambda: scanned(b""))
    assert "version https://git-lfs" in refusal(lambda: scanned(pointer))
    assert "<!DOCTYPE html>" in refusal(lambda: scanned(page))


def test_data_behind_the_end_mark_is_refused() -> None:
    """Every reader stops at the first zero block: a page of zeros in the middle would drop all that follows."""
    data = pack([(f"{i}.txt", b"1" * 1000) for i in range(9)])
    hole = data[:1536] + b"\0" * 512 + data[2048:]
    assert "byte 2048: data behind the end mark" in refusal(lambda: scanned(hole))
    joined = pack([("a.txt", b"1")]) + pack([("b.txt", b"2")])
    assert by_tarfile(joined) == [("a.txt", 512, 1)]  # other readers drop it
    assert f"byte {len(joined) // 2}: data behind the end mark" in refusal(lambda: scanned(joined))
