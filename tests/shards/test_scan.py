"""Tars that others wrote: the members that are there, and an error that says where for everything else."""

import bz2
import gzip
import io
import json
import lzma
import mmap
import multiprocessing
import os
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from shards.errors import ShardError
from shards.reading.foreign_index import read_dali_index, read_foreign_index
from shards.reading.tar_samples import read_tar_samples
from shards.reading.members import Members
from shards.reading.tar_index import index_tar
from shards.reading.tar_scan import TarMember, scan_members

Facts = tuple[str, int, int]
Entry = tuple[str, bytes]

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
TYPES = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"Z"]
PNG = b"\x89PNG\r\n\x1a\n, or what begins like one"
LONG = "é" * 30 + "/" + "é" * 40 + ".txt"  # takes a prefix, or an extended header
DEFAULT = Members()
JPG = b"\xff\xd8\xff\xe0, or what begins like one"

# Any text that can name a file, and any bytes that are no UTF-8; "/" at the end is a directory's.
names = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b"_").decode("utf-8", "surrogateescape")),
    st.lists(st.text("aB.é", min_size=1, max_size=60), min_size=1, max_size=8).map("/".join),
).filter(lambda name: not name.endswith("/"))
entries = st.lists(st.tuples(names, st.binary(max_size=1100), st.sampled_from(TYPES)), max_size=6)


def pack(files: Sequence[Entry], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of these names and contents."""
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


def rows(files: Sequence[Entry], members: Members = DEFAULT) -> list[dict]:
    return index_tar(pack(files), "x.tar", members).to_pylist()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ShardError) as caught:
        call()
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- members


@given(files=entries, format=st.sampled_from(sorted(FORMATS)))
def test_members_are_those_that_tarfile_finds(files: list[tuple[str, bytes, bytes]], format: str) -> None:
    try:
        data = pack_types(files, FORMATS[format])
    except ValueError:  # too long for ustar
        assume(False)
    assert scanned(data) == by_tarfile(data)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_tar_that_was_cut_at_any_byte_is_refused_where_it_ends(format: str) -> None:
    files = [("a.txt", b"1" * 700), (LONG, b""), ("b.txt", b"2" * 512), ("c.txt", b"3")]
    data = pack(files, FORMATS[format])
    found = scanned(data)
    assert len(found) == 4
    marked = found[-1][1] + 512 + 512  # the last data, padded, and the zero block that says that this was all
    for cut in range(marked):
        text = refusal(lambda cut=cut: scanned(data[:cut]))
        assert text.startswith("x.tar, byte ")
        place = int(text.split("byte ")[1].split(":")[0])
        assert cut - 512 - 700 <= place <= cut  # the header of what is cut short, or the end
        inside = [name for name, offset, size in found if offset <= cut < offset + size]
        assert not inside or f"{inside[0]!r} of " in text
    for cut in range(marked, len(data)):
        assert scanned(data[:cut]) == found


@given(data=st.data(), format=st.sampled_from(sorted(FORMATS)))
def test_one_wrong_byte_in_a_header_never_changes_what_is_found(data: st.DataObject, format: str) -> None:
    tar = pack([(LONG, b"1" * 700), ("b.txt", b"2")], FORMATS[format])
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        header = data.draw(st.sampled_from([member.offset_data - 512 for member in opened] + [0]))
    place, byte = header + data.draw(st.integers(0, 511)), data.draw(st.integers(0, 255))
    damaged = tar[:place] + bytes([byte]) + tar[place + 1 :]
    try:
        found = scanned(damaged)
    except ShardError as error:
        assert str(error).startswith("x.tar")  # noqa: PT017
    else:
        assert found == scanned(tar)


@given(data=st.binary(max_size=2000))
@example(b"\0" * 511)
@example(pack([("a.cls", b"1")])[:156] + b"x" + b"\0" * 2000)
def test_bytes_that_are_no_tar_are_refused_or_hold_nothing(data: bytes) -> None:
    try:
        assert scanned(data) == []
    except ShardError as error:
        assert str(error).startswith("x.tar")  # noqa: PT017


def record(name: str, value: str) -> bytes:
    """A pax record, whose length counts its own digits."""
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
def test_any_pax_header_is_read_as_tarfile_reads_it_or_refused(records: bytes, kind: bytes) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, len(records)
    block = header.tobuf(tarfile.USTAR_FORMAT)
    data = block + records + b"\0" * (-len(records) % 512) + pack([("a.txt", b"1" * 600), ("b.txt", b"2" * 600)])
    try:
        found = scanned(data)
    except ShardError:
        return
    assert found == by_tarfile(data)


def test_a_pax_header_gives_the_name_and_the_size() -> None:
    records = record("path", "größe/" + "x" * 200) + record("size", "600")
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    short = tarfile.TarInfo("short").tobuf(tarfile.USTAR_FORMAT)  # which says 0 bytes
    data = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + short + b"1" * 1024
    assert scanned(data + pack([("b.txt", b"2")])) == [("größe/" + "x" * 200, 1536, 600), ("b.txt", 3072, 1)]


def test_old_checksums_of_signed_bytes_are_taken() -> None:
    data = bytearray(pack([("größe.txt", b"1")]))
    signed = sum(byte - 256 * (byte > 127) for byte in bytes(data[:148]) + b" " * 8 + bytes(data[156:512]))
    assert signed != int(data[148:154], 8)
    data[148:156] = b"%06o\0 " % signed
    assert scanned(bytes(data)) == by_tarfile(bytes(data)) == [("größe.txt", 512, 1)]


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_sizes_that_octal_digits_cannot_hold(tmp_path: Path, format: str) -> None:
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


def test_pax_records_for_the_whole_tar(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all é"}) as tar:
        for name in ("a.txt", "b" * 120):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert scanned(buffer.getvalue()) == by_tarfile(buffer.getvalue())
    assert len(scanned(buffer.getvalue())) == 2


@pytest.mark.parametrize("format", ["gnu", "oldgnu", "pax", "ustar", "v7"])
def test_tars_of_the_shell(tmp_path: Path, format: str) -> None:
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
    found = scanned(tar.read_bytes())
    assert found == by_tarfile(tar.read_bytes())
    assert len(found) == (5 if format == "v7" else 6)
    for name, offset, size in found:
        stored = tar.read_bytes()[offset : offset + size]
        assert stored == (tmp_path / name).read_bytes()


def test_headers_of_backups_have_times_where_others_have_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(JPG)
    tar = tmp_path / "x.tar"
    backup = ["tar", "--format=gnu", "--listed-incremental=state", "-cf", tar, "in"]
    subprocess.run(backup, cwd=tmp_path, check=True)
    (found,) = scanned(tar.read_bytes())
    assert found[0] == "in/a.jpg" != by_tarfile(tar.read_bytes())[0][0]
    assert tar.read_bytes()[found[1] :][: found[2]] == JPG


def test_links_and_directories_have_no_data_whatever_size_they_state() -> None:
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


@pytest.mark.parametrize(
    ("name", "compress"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_compressed_tar_is_refused_by_its_compression(name: str, compress: Callable[[bytes], bytes]) -> None:
    assert f"x.tar, byte 0: compressed by {name}" in refusal(lambda: scanned(compress(pack([("a.cls", b"1")]))))


def test_zstd_is_refused_too() -> None:
    packed = pa.compress(pack([("a.cls", b"1")]), codec="zstd", asbytes=True)
    assert "compressed by zstd" in refusal(lambda: scanned(packed))


def test_what_a_download_may_leave_instead_of_a_tar() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    page = b"<!DOCTYPE html><title>404</title>" + b" " * 600
    assert "x.tar, byte 0" in refusal(lambda: scanned(b""))
    assert "version https://git-lfs" in refusal(lambda: scanned(pointer))
    assert "<!DOCTYPE html>" in refusal(lambda: scanned(page))


def test_nothing_behind_the_end_is_passed_over_in_silence() -> None:
    """Every reader stops at the first zero block: a page of zeros in the middle would drop all that follows."""
    data = pack([(f"{i}.txt", b"1" * 1000) for i in range(9)])
    hole = data[:1536] + b"\0" * 512 + data[2048:]
    assert "byte 2048: data behind the end mark" in refusal(lambda: scanned(hole))
    joined = pack([("a.txt", b"1")]) + pack([("b.txt", b"2")])
    assert by_tarfile(joined) == [("a.txt", 512, 1)]  # so others drop it
    assert f"byte {len(joined) // 2}: data behind the end mark" in refusal(lambda: scanned(joined))


# ---------------------------------------------------------------------------------------------------- samples


@given(name=names)
@example("a/b.c/d.seg.png")
@example("./a.jpg")
@example("noext")
def test_keys_are_those_of_webdataset(name: str) -> None:
    """But for hidden files in folders, which webdataset takes for samples that are named like the folder."""
    assume("\n" not in name and not name.rpartition("/")[2].startswith("."))
    key, extension = base_plus_ext(name)
    try:
        image = "png" if extension is None else extension.lower()
        found = rows([(name, PNG)], Members(image=(image,), label="none", mask="none"))
    except ValueError:  # too long for ustar
        assume(False)
    written = [] if key is None else [key.encode("utf-8", "backslashreplace").decode()]
    if not written or not name.startswith("__"):
        assert [row["key"] for row in found] == written


def test_a_row_tells_where_the_members_are_and_what_they_say() -> None:
    meta = {"synthetic": True, "class_name": "größe"}
    files = [("a.json", json.dumps(meta).encode()), ("a.JPG", JPG), ("a.cls", b" 7\n"), ("a.mask.png", PNG)]
    data = pack([*files, ("a.txt", b"text"), ("a.pyd", b"a pickle"), ("a.npy", b"array")])
    (row,) = index_tar(data, "x.tar", Members()).to_pylist()
    assert {name: row[name] for name in ("key", "label", "synthetic", "class_name", "image_format")} == {
        "key": "a", "label": 7, "synthetic": True, "class_name": "größe", "image_format": "jpg",
    }  # fmt: skip
    stored = {role: data[row[f"{role}_offset"] :][: row[f"{role}_size"]] for role in ("image", "mask", "json", "txt")}
    assert stored == {"image": JPG, "mask": PNG, "json": files[0][1], "txt": b"text"}


def test_what_a_sample_lacks_is_said_and_samples_without_an_image_are_counted() -> None:
    table = index_tar(
        pack([("a.png", PNG), ("b.cls", b"1"), ("c.txt", b"no image"), ("README.md", b"")]), "x.tar", Members()
    )
    (row,) = table.to_pylist()
    assert (row["key"], row["label"], row["synthetic"], row["class_name"]) == ("a", -1, None, None)
    assert [row[f"{role}_offset"] for role in ("mask", "json", "txt")] == [-1, -1, -1]
    assert [row[f"{role}_size"] for role in ("mask", "json", "txt")] == [0, 0, 0]
    assert table.schema.metadata[b"incomplete"] == b"2"


@given(
    order=st.permutations([f"{key}.{end}" for key in ("a", "B/c", "B/é", "B.d/a") for end in ("png", "cls", "json")])
)
def test_members_may_stand_in_any_order(order: list[str]) -> None:
    contents = {"png": PNG, "json": b'{"synthetic": false}'}
    found = rows([(name, contents.get(name.rpartition(".")[2], str(len(name)).encode())) for name in order])
    assert {row["key"] for row in found} == {"a", "B/c", "B/é", "B.d/a"}
    assert all(row["label"] == len(row["key"] + ".cls") and row["synthetic"] is False for row in found)
    firsts = list(dict.fromkeys(name.rpartition(".")[0] for name in order))
    assert [row["key"] for row in found] == firsts


def test_meta_members_and_hidden_ones_are_no_samples() -> None:
    hidden = [("__meta__/a.png", PNG), (".hidden.png", PNG), ("folder/._a.png", PNG), ("folder/", b"")]
    shown = [("__a__.png", PNG), ("__b.png", PNG), ("folder/__c.png", PNG)]
    keys = ["__a__", "__b", "folder/__c"]
    assert [row["key"] for row in rows([*hidden, *shown])] == keys
    entries = read_tar_samples(pack([*hidden, *shown]), "x.tar", Members())
    assert [one.key for one in entries if not one.key.startswith((".", "folder/."))] == keys, "reshard finds the same"


def test_the_format_of_an_image_is_that_of_its_bytes() -> None:
    files = [("a.png", JPG), ("b.jpeg", PNG), ("c.webp", b"RIFF\0\0\0\0WEBP"), ("d.jpeg", b"damaged")]
    assert [row["image_format"] for row in rows(files)] == ["jpg", "png", "webp", "jpg"]


def test_two_members_for_one_thing_are_refused_and_can_be_told_apart() -> None:
    text = refusal(lambda: rows([("a.cls", b"1"), ("a.png", PNG), ("b.png", PNG), ("a.cls", b"2")]))
    assert "x.tar, byte " in text
    assert "'a.cls'" in text
    pair = [("a.jpg", JPG), ("a.png", PNG)]
    assert "'a.jpg' and 'a.png' are both the image" in refusal(lambda: rows(pair))
    (row,) = rows(pair, Members(mask="png"))
    assert (row["image_format"], row["mask_size"]) == ("jpg", len(PNG))


@pytest.mark.parametrize("value", [b"cat", b"", b"1.0", b"1_0", "٣".encode(), b"9" * 19, b"9" * 30, b"\xff"])
def test_a_cls_that_is_no_integer_is_refused_with_its_value(value: bytes) -> None:
    text = refusal(lambda: rows([("a.png", PNG), ("a.cls", value)]))
    assert "x.tar: sample 'a': cls holds" in text
    assert value.decode("ascii", "backslashreplace")[:20] in text


@pytest.mark.parametrize(
    "meta", [b'{"y": "3"}', b'{"y": true}', b'{"y": 3.0}', b"{}", b"[3]", b"{", b'{"y": NaN}', None]
)
def test_a_json_label_that_is_no_integer_is_refused(meta: bytes | None) -> None:
    files = [("a.png", PNG), ("a.cls", b"1")] + ([] if meta is None else [("a.json", meta)])
    assert "sample 'a': json.y" in refusal(lambda: rows(files, Members(label="json.y")))


def test_labels_may_stand_in_the_json_or_in_a_member_of_another_name() -> None:
    files = [("a.png", PNG), ("a.json", b'{"y": -5}'), ("a.id.txt", b"12"), ("a.cls", b"unused")]
    assert [row["label"] for row in rows(files, Members(label="json.y"))] == [-5]
    assert [row["label"] for row in rows(files, Members(label="id.txt"))] == [12]


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["synthetic", "class_name"]), inner),
).map(lambda value: json.dumps(value).encode())


@given(meta=jsons | st.binary())
@example(b"[" * 100_000)
@example(b'{"class_name": "\\ud800", "synthetic": 1}')
@example(b'{"synthetic": ' + b"9" * 5000 + b"}")
@example(b"\xef\xbb\xbf{}")
def test_no_json_is_too_odd_for_a_sample_that_needs_none(meta: bytes) -> None:
    try:
        facts = json.loads(meta)
    except (ValueError, RecursionError):
        facts = None
    facts = facts if isinstance(facts, dict) else {}
    if not isinstance(facts.get("synthetic"), bool | None):
        with pytest.raises(ShardError, match=r"\.json: synthetic is .*, neither true nor false"):
            rows([("a.png", PNG), ("a.json", meta)])
        return
    (row,) = rows([("a.png", PNG), ("a.json", meta)])
    assert row["json_size"] == len(meta)
    assert row["synthetic"] is facts.get("synthetic")
    assert (row["class_name"] is None) == (not isinstance(facts.get("class_name"), str))


def test_names_that_are_no_utf8_become_keys_that_every_reader_can_hold() -> None:
    assert [row["key"] for row in rows([("\udcff.png", PNG)])] == ["\\udcff"]


# ----------------------------------------------------------------------------------------------------- indexes

FILES = [(f"{i:03d}.{end}", body) for i in range(4) for end, body in (("png", PNG), ("cls", b"%d" % i))]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "index"


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "00000.tar"
    path.write_bytes(pack(FILES))
    return path


def opened(tar: Path, version: str = "1", members: Members = DEFAULT) -> pa.Table:
    return read_foreign_index(tar, str(tar), version, members)


def same(one: pa.Table, other: pa.Table) -> bool:
    counts = [table.schema.metadata[b"incomplete"] for table in (one, other)]
    return one.equals(other) and counts[0] == counts[1]


def test_a_kept_index_is_read_without_the_tar(tar: Path, cache: Path) -> None:
    first = opened(tar)
    assert first.select(["key", "label"]).to_pydict() == {"key": ["000", "001", "002", "003"], "label": [0, 1, 2, 3]}
    tar.unlink()
    assert same(opened(tar), first)
    assert len(list(cache.glob("*.parquet"))) == 1
    assert not list(cache.glob(".staging/*"))


def test_another_version_of_the_tar_is_read_anew_and_takes_the_place_of_the_old(tar: Path, cache: Path) -> None:
    opened(tar)
    tar.write_bytes(pack(FILES[:2]))
    assert opened(tar, "2").num_rows == 1
    assert opened(tar, "2").num_rows == 1
    assert len(list(cache.glob("*.parquet"))) == 1


def test_other_members_are_another_index(tar: Path, cache: Path) -> None:
    assert opened(tar).num_rows == 4
    assert opened(tar, members=Members(image=("webp",))).num_rows == 0
    assert opened(tar).num_rows == 4
    assert len(list(cache.glob("*.parquet"))) == 2


def test_a_damaged_kept_index_is_made_again(tar: Path, cache: Path) -> None:
    first = opened(tar)
    (kept,) = cache.glob("*.parquet")
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"no parquet", b"\0" * len(whole)):
        kept.write_bytes(damaged)
        assert same(opened(tar), first)
        assert same(pq.read_table(kept), first)
    for place in range(0, len(whole), 11):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        assert opened(tar).equals(first)


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tar: Path, cache: Path) -> None:
    cache.parent.write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert opened(tar).num_rows == 4


def _open_often(tar: Path, times: int) -> list[list[str]]:
    return [opened(tar, str(time))["key"].to_pylist() for time in range(times)]


def test_processes_may_make_the_same_index_at_once(tar: Path, cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(_open_often, [(tar, 10)] * 4)
    assert found == [[["000", "001", "002", "003"]] * 10] * 4
    assert len(list(cache.glob("*.parquet"))) == 1


@pytest.mark.parametrize("content", [b"", b"x", pack(FILES)[:700], None])
def test_a_tar_that_is_none_is_refused_by_the_name_that_the_user_knows(
    tmp_path: Path, cache: Path, content: bytes | None
) -> None:
    path = tmp_path / "copy"
    if content is not None:
        path.write_bytes(content)
    assert refusal(lambda: read_foreign_index(path, "s3://bucket/x.tar", "1", Members())).startswith("s3://bucket/x.tar")
    assert not cache.exists()


# ------------------------------------------------------------------------------------------------ DALI's indexes


def dali_index(tar: Path, version: str = "v1.2") -> str:
    """What `wds2idx` writes: a line for each run of members of one key."""
    samples: dict[str, list[str]] = {}
    for name, offset, size in by_tarfile(tar.read_bytes()):
        key, _, extension = name.partition(".")
        named = [name] if version == "v1.2" else []
        samples.setdefault(key, []).append(" ".join([extension, str(offset), str(size), *named]))
    return f"{version} {len(samples)}\n" + "".join(" ".join(parts) + "\n" for parts in samples.values())


def places_of(tar: Path) -> Sequence[TarMember] | None:
    return read_dali_index(tar.read_bytes(), tar)


def test_members_come_from_an_index_of_dali(tar: Path, cache: Path) -> None:
    scan = opened(tar)
    tar.with_suffix(".idx").write_text(dali_index(tar))
    assert places_of(tar) == list(scan_members(tar.read_bytes(), "x.tar"))
    assert same(opened(tar, "again"), scan)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("v1.2", "v1.3"),
        lambda text: text.replace("v1.2 4", "v1.2 5"),
        lambda text: "\n".join(text.splitlines()[:-1]),
        lambda text: "v1.2 3\n" + "".join(text.splitlines(True)[1:4]),  # without the last sample
        lambda text: "v1.2 4\n" + "".join(text.splitlines(True)[i] for i in (1, 3, 2, 4)),
        lambda text: text.replace("000.png", "999.png"),
        lambda text: text.replace("003.cls", "999.cls"),
        lambda text: text.replace("001.png", r"00\303.png"),
        lambda text: text.replace("001.png", "00 1.png"),
        lambda text: text.replace(" 512 ", " 513 "),
        lambda text: text.replace(" 512 ", " -512 "),
        lambda text: text.replace(" 1 003.cls", " 99999 003.cls"),
        lambda text: "",
        lambda text: "v1.2 0\n",
        lambda text: '{"files": []}',
    ],
)
def test_an_odd_index_is_not_trusted(tar: Path, cache: Path, spoil: Callable[[str], str]) -> None:
    scan = opened(tar)
    tar.with_suffix(".idx").write_text(spoil(dali_index(tar)))
    assert places_of(tar) is None
    assert same(opened(tar, "again"), scan)


def test_other_programs_indexes_are_not_taken_for_it(tar: Path) -> None:
    tar.with_suffix(".idx").write_text(dali_index(tar, "v1.1"))  # has no names
    assert places_of(tar) is None
    offsets = b"".join(offset.to_bytes(8, "little") for _, offset, _ in by_tarfile(tar.read_bytes()))
    tar.with_suffix(".idx").write_bytes(offsets)
    assert places_of(tar) is None
    tar.with_suffix(".idx").unlink()
    tar.with_name("00000.tar.idx").write_bytes(offsets)  # Energon's
    assert places_of(tar) is None


def test_an_index_older_than_its_tar_or_of_a_longer_one_is_not_trusted(tar: Path) -> None:
    index = tar.with_suffix(".idx")
    index.write_text(dali_index(tar))
    assert places_of(tar) is not None
    os.utime(index, (1, 1))
    assert places_of(tar) is None
    os.utime(index)
    whole = tar.read_bytes()
    end = scanned(whole)[-1][1] + 512
    for cut in (700, end - 512, end, end + 100):
        tar.write_bytes(whole[:cut])
        os.utime(index)
        assert places_of(tar) is None


def test_an_index_of_a_tar_as_webdataset_writes_it(tar: Path) -> None:
    """With a pax header before each member, from which old versions of `wds2idx` computed wrong places."""
    from webdataset import TarWriter

    with TarWriter(str(tar)) as writer:
        for name, data in FILES:
            writer.write({"__key__": name.partition(".")[0], name.partition(".")[2]: data})
    places = list(scan_members(tar.read_bytes(), "x.tar"))
    assert places[0].offset == 3 * 512
    right = dali_index(tar)
    tar.with_suffix(".idx").write_text(right)
    assert places_of(tar) == places
    tar.with_suffix(".idx").write_text(right.replace(f" {places[0].offset} ", f" {places[0].offset + 1024} "))
    assert places_of(tar) is None


def test_an_index_of_a_tar_with_long_names_is_not_trusted(tar: Path) -> None:
    tar.write_bytes(pack([*FILES[:2], ("d" * 150 + ".png", PNG), *FILES[2:]], tarfile.GNU_FORMAT))
    tar.with_suffix(".idx").write_text(dali_index(tar))
    assert places_of(tar) is None
