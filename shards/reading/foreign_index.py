"""Indexes of tars that others wrote: made by one scan, and kept for the next time."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.reading.tar_scan import map_file
from shards.reading.members import Members
from shards.reading.tar_index import SCHEMA, index_tar
from shards.reading.tar_scan import TarData, TarMember, member_at, scan_members
from shards.storage.commit import staging_path
from shards.storage.locations import cache_home
from shards.tarball import BLOCK_SIZE

_FORM = 1  # of the kept tables: to be raised when the same tar gives another table


def read_foreign_index(path: Path, url: str, version: str, members: Members) -> pa.Table:
    """The `index_table` of a tar, from the user's cache if it was made before.

    path: the tar, or a local copy. url: its name, in errors too. version: says which bytes; another one, or a damaged
    or unreadable kept table, and the table is made again. Several processes may do so at once. A DALI index beside
    `path` (`wds2idx`) spares the scan.

    Raises ShardError as `index_table` does. Warns where the cache cannot be written.
    """
    name = hashlib.sha256(json.dumps([_FORM, url, astuple(members)]).encode()).hexdigest()
    kept = cache_home() / "index" / f"{name}.parquet"
    table = _kept(kept, version)
    if table is None:
        table = _make(path, url, members)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"version": version.encode()})
        _keep(table, kept)
    return table


def _make(path: Path, url: str, members: Members) -> pa.Table:
    with map_file(path, url) as data:
        return index_tar(data, url, members, read_dali_index(data, path))


def _kept(path: Path, version: str) -> pa.Table | None:
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, ValueError, pa.ArrowException):
        return None
    same = table.schema.equals(SCHEMA) and (table.schema.metadata or {}).get(b"version") == version.encode()
    return table if same else None


def _keep(table: pa.Table, path: Path) -> None:
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
    """The members of a tar by the index that NVIDIA DALI's `wds2idx` wrote beside it; None where none can be trusted.

    Form v1.2 is text: "v1.2 COUNT", then a line a sample of EXTENSION OFFSET SIZE NAME for each member. (v1.1 lacks the
    names, which only a scan gives.) An index may be of other bytes, and for tars with pax headers, as webdataset's
    are, older versions wrote wrong places (DALI's pull request 4226). So it must be younger than its tar, the header at
    each place must say what it says, and behind the last one there may be nothing but the end of the tar.
    """
    index = tar.with_suffix(".idx")
    try:
        if index.stat().st_mtime_ns < tar.stat().st_mtime_ns:
            return None
        found = _parse(index.read_text(encoding="utf-8"))
        ends = [0, *(member.offset + member.size for member in found)]
        ordered = all(end + BLOCK_SIZE <= member.offset for end, member in zip(ends, found, strict=False))
        if ordered and all(member_at(data, member.offset) == member for member in found):
            return found if list(scan_members(data, str(tar), found[-1].offset - BLOCK_SIZE)) == found[-1:] else None
    except (OSError, ValueError, ShardError):
        pass  # absent, another program's, or wrong: the scan says what is in the tar
    return None


def _parse(text: str) -> list[TarMember]:
    """Raises ValueError for another form."""
    head, *lines = text.splitlines()
    if head != f"v1.2 {len(lines)}" or not lines:
        raise ValueError(f"{head[:20]!r} and {len(lines)} lines")
    words = [line.split(" ") for line in lines]
    entries = [entry for line in words for entry in zip(*[iter(line)] * 4, strict=True)]
    return [TarMember(name, int(offset), int(size)) for _, offset, size, name in entries]
