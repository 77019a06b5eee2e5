"""Indexes of other tools' tars, made by one scan and cached for later starts."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.reading.members import Members
from shards.reading.tar_index import SCHEMA, index_tar
from shards.reading.tar_scan import TarData, TarMember, map_file, member_at, scan_members
from shards.storage.commit import staging_path
from shards.storage.locations import cache_home
from shards.tarball import BLOCK_SIZE

_TABLE_VERSION = 1  # increase it when the same tar would give another table


def read_foreign_index(path: Path, url: str, version: str, members: Members) -> pa.Table:
    """Return the `index_tar` table of a tar, from the user's cache if possible.

    path: the tar, or a local copy. url: its name, also in errors. version: of its content; a cached table of another
    version is made again. A DALI index beside `path` (`wds2idx`) saves the scan.
    Raises ShardError as `index_tar` does. Warns if the cache cannot be written.
    """
    name = hashlib.sha256(json.dumps([_TABLE_VERSION, url, astuple(members)]).encode()).hexdigest()
    cached = cache_home() / "index" / f"{name}.parquet"
    table = _read_cached(cached, version)
    if table is None:
        with map_file(path, url) as data:
            table = index_tar(data, url, members, read_dali_index(data, path))
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"version": version.encode()})
        _write_cached(table, cached)
    return table


def _read_cached(path: Path, version: str) -> pa.Table | None:
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, ValueError, pa.ArrowException):
        return None
    valid = table.schema.equals(SCHEMA) and (table.schema.metadata or {}).get(b"version") == version.encode()
    return table if valid else None


def _write_cached(table: pa.Table, path: Path) -> None:
    try:
        staged = staging_path(path.parent, path.name)
        try:
            pq.write_table(table, staged, compression="zstd", write_page_checksum=True)
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(f"{path.parent}: indexes cannot be kept, every start scans again: {error}", stacklevel=2)


def read_dali_index(data: TarData, tar: Path) -> Sequence[TarMember] | None:
    """Return the members of a tar by the index that NVIDIA DALI's `wds2idx` wrote beside it; None if it is not valid.

    Format v1.2 is text: "v1.2 COUNT", then a line per sample with EXTENSION OFFSET SIZE NAME for each member. (v1.1
    lacks the names.) An index may belong to another tar, and older versions wrote wrong offsets for tars with pax
    headers, such as webdataset's (DALI's pull request 4226). So the index must be younger than its tar, the header at
    each offset must agree, and the last member must be followed by the end of the tar.
    """
    index = tar.with_suffix(".idx")
    try:
        if index.stat().st_mtime_ns < tar.stat().st_mtime_ns:
            return None
        members = _parse_dali_index(index.read_text(encoding="utf-8"))
        ends = [0, *(member.offset + member.size for member in members)]
        ordered = all(end + BLOCK_SIZE <= member.offset for end, member in zip(ends, members, strict=False))
        if not ordered or any(member_at(data, member.offset) != member for member in members):
            return None
        # Scanning the last member also checks the end of the tar.
        last = list(scan_members(data, str(tar), members[-1].offset - BLOCK_SIZE))
        return members if last == members[-1:] else None
    except (OSError, ValueError, ShardError):
        return None  # absent, of another program, or wrong


def _parse_dali_index(text: str) -> list[TarMember]:
    """Raises ValueError for another format."""
    head, *lines = text.splitlines()
    if head != f"v1.2 {len(lines)}" or not lines:
        raise ValueError(f"{head[:20]!r} and {len(lines)} lines")
    words = [line.split(" ") for line in lines]
    entries = [entry for line in words for entry in zip(*[iter(line)] * 4, strict=True)]
    return [TarMember(name, int(offset), int(size)) for _, offset, size, name in entries]
