"""Cached indexes of other tools' tars, and the indexes that DALI writes."""

import multiprocessing
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.reading.foreign_index import read_dali_index, read_foreign_index
from shards.reading.members import Members
from shards.reading.tar_scan import TarMember, scan_members
from tests.shards.tars import PNG, by_tarfile, pack, refusal, scanned

DEFAULT = Members()


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


def same(first: pa.Table, second: pa.Table) -> bool:
    counts = [table.schema.metadata[b"incomplete"] for table in (first, second)]
    return first.equals(second) and counts[0] == counts[1]


def test_a_cached_index_is_read_without_the_tar(tar: Path, cache: Path) -> None:
    first = opened(tar)
    assert first.select(["key", "label"]).to_pydict() == {"key": ["000", "001", "002", "003"], "label": [0, 1, 2, 3]}
    tar.unlink()
    assert same(opened(tar), first)
    assert len(list(cache.glob("*.parquet"))) == 1
    assert not list(cache.glob(".staging/*"))


def test_a_new_version_replaces_the_cached_index(tar: Path, cache: Path) -> None:
    opened(tar)
    tar.write_bytes(pack(FILES[:2]))
    assert opened(tar, "2").num_rows == 1
    assert opened(tar, "2").num_rows == 1
    assert len(list(cache.glob("*.parquet"))) == 1


def test_other_member_names_make_another_index(tar: Path, cache: Path) -> None:
    assert opened(tar).num_rows == 4
    assert opened(tar, members=Members(image=("webp",))).num_rows == 0
    assert opened(tar).num_rows == 4
    assert len(list(cache.glob("*.parquet"))) == 2


def test_a_damaged_cached_index_is_made_again(tar: Path, cache: Path) -> None:
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


def test_an_unwritable_cache_causes_only_a_warning(tar: Path, cache: Path) -> None:
    cache.parent.write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert opened(tar).num_rows == 4


def _open_often(tar: Path, times: int) -> list[list[str]]:
    return [opened(tar, str(time))["key"].to_pylist() for time in range(times)]


def test_processes_may_make_one_index_at_the_same_time(tar: Path, cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        keys = pool.starmap(_open_often, [(tar, 10)] * 4)
    assert keys == [[["000", "001", "002", "003"]] * 10] * 4
    assert len(list(cache.glob("*.parquet"))) == 1


@pytest.mark.parametrize("content", [b"", b"x", pack(FILES)[:700], None])
def test_errors_name_the_url_not_the_local_copy(tmp_path: Path, cache: Path, content: bytes | None) -> None:
    path = tmp_path / "copy"
    if content is not None:
        path.write_bytes(content)
    assert refusal(lambda: read_foreign_index(path, "s3://bucket/x.tar", "1", Members())).startswith(
        "s3://bucket/x.tar"
    )
    assert not cache.exists()


def dali_index(tar: Path, version: str = "v1.2") -> str:
    """Return the index that `wds2idx` writes, which has a line for each run of members of one key."""
    samples: dict[str, list[str]] = {}
    for name, offset, size in by_tarfile(tar.read_bytes()):
        key, _, extension = name.partition(".")
        named = [name] if version == "v1.2" else []
        samples.setdefault(key, []).append(" ".join([extension, str(offset), str(size), *named]))
    return f"{version} {len(samples)}\n" + "".join(" ".join(parts) + "\n" for parts in samples.values())


def places_of(tar: Path) -> Sequence[TarMember] | None:
    return read_dali_index(tar.read_bytes(), tar)


def test_a_dali_index_saves_the_scan(tar: Path, cache: Path) -> None:
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
def test_a_wrong_dali_index_is_ignored(tar: Path, cache: Path, spoil: Callable[[str], str]) -> None:
    scan = opened(tar)
    tar.with_suffix(".idx").write_text(spoil(dali_index(tar)))
    assert places_of(tar) is None
    assert same(opened(tar, "again"), scan)


def test_index_files_of_other_programs_are_ignored(tar: Path) -> None:
    tar.with_suffix(".idx").write_text(dali_index(tar, "v1.1"))  # version 1.1 has no names
    assert places_of(tar) is None
    offsets = b"".join(offset.to_bytes(8, "little") for _, offset, _ in by_tarfile(tar.read_bytes()))
    tar.with_suffix(".idx").write_bytes(offsets)
    assert places_of(tar) is None
    tar.with_suffix(".idx").unlink()
    tar.with_name("00000.tar.idx").write_bytes(offsets)  # an index of Energon
    assert places_of(tar) is None


def test_a_stale_dali_index_is_ignored(tar: Path) -> None:
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


def test_wrong_dali_offsets_behind_pax_headers_are_ignored(tar: Path) -> None:
    """Old versions of `wds2idx` computed wrong offsets if a pax header preceded a member."""
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


def test_a_dali_index_of_long_names_is_ignored(tar: Path) -> None:
    tar.write_bytes(pack([*FILES[:2], ("d" * 150 + ".png", PNG), *FILES[2:]], tarfile.GNU_FORMAT))
    tar.with_suffix(".idx").write_text(dali_index(tar))
    assert places_of(tar) is None
