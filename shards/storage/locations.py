"""The locations of shards: on this machine's file systems, or on any store that fsspec has a backend for."""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import fsspec

from shards.errors import ShardError
from shards.stats import STATS_SUFFIX
from shards.storage.retries import FileMissing, call_with_retries, first_line

_THREADS = 16
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "az": "adlfs", "abfs": "adlfs",
}  # fmt: skip
_CHECKSUM_FIELDS = ("ETag", "etag", "md5Hash", "blob_id")  # of the backends of S3, http, Google, and the hub
_TIME_FIELDS = ("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class ShardFile:
    """One shard. url: a plain absolute path if it is local. size: bytes."""

    url: str
    size: int
    version: str  # changes when the content does. It is the store's ETag or hash, else size and time of modification.

    @property
    def name(self) -> str:
        """Base name, such as `00012.tar`."""
        return _without_query(self.url).rpartition("/")[2]

    @property
    def local(self) -> Path | None:
        """Path on this machine's file systems; None for a remote shard."""
        return None if is_remote(self.url) else Path(self.url)

    def sibling(self, suffix: str) -> str:
        """Return the location of the file of the same stem: `00012.parquet` for the suffix `.parquet`."""
        bare = _without_query(self.url)
        return bare.removesuffix(".tar") + suffix + self.url[len(bare) :]


def find_tars(shards: str | Path | Sequence[str | Path]) -> list[ShardFile]:
    """Return the shards at one or several locations, in the order of the locations and sorted by name within each.

    A location is a folder, a tar, or a pattern of tars, local or a URL. Patterns have `*`, `?` (not in http URLs, where
    it begins the query), `{00000..00099}`, `{0..90..10}` and `{a,b}`. If a folder holds stats files, only the shards
    that have one are returned: the others are unfinished.
    Raises ShardError for no shard, one that is missing or named twice, refused access, and an uninstalled backend.
    """
    places = [shards] if isinstance(shards, str | Path) else list(shards)
    tars = [tar for place in places for tar in _find(str(place))]
    if not tars:
        raise ShardError("no shards: the list of places is empty")
    seen: set[str] = set()
    for tar in tars:
        file = tar.url if is_remote(tar.url) else os.path.realpath(tar.url)
        if file in seen:
            raise ShardError(f"{tar.url}: named twice, so an epoch would repeat its samples; name it once")
        seen.add(file)
    return tars


def stat_tar(url: str) -> ShardFile:
    """Return the present size and version of a shard. Raises ShardError if it is missing or cannot be reached."""
    fs, path = filesystem(url)
    fs.invalidate_cache(fs._parent(path))
    return _shard_file(fs, _request(url, lambda: fs.info(path), "it is gone from where it was found"))


def read_bytes(url: str) -> bytes:
    """Read a small file. Raises FileMissing, or ShardError if it cannot be read."""
    fs, path = filesystem(url)
    data: bytes = _request(url, lambda: fs.cat_file(path), "there is no such file")
    return data


def download(url: str, path: Path) -> None:
    """Copy a remote file to a local path. Raises ShardError, and OSError if the disk is full."""
    fs, source = filesystem(url)
    # Measured over a loopback S3 with 20 ms of delay per request: get_file was faster than cat_file, and from 8 MB
    # on faster than ranged parts in threads. s3fs requests the 50 MB parts of a large shard in parallel.
    _request(url, lambda: fs.get_file(source, str(path)), "it is gone from where it was found")


def _request(url: str, request: Callable[[], Any], missing: str) -> Any:
    try:
        return call_with_retries(url, request)
    except FileNotFoundError:
        raise FileMissing(f"{url}: {missing}") from None


def cache_home() -> Path:
    """Return the cache folder: $SHARDMILL_CACHE, or `shardmill` in $XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("SHARDMILL_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardmill"


def is_remote(place: str) -> bool:
    """Return whether a location is a URL of a store, not a path of this machine."""
    return "://" in place and not place.startswith("file://")


def filesystem(place: str) -> tuple[Any, str]:
    """Return the fsspec backend of a location, and the backend's path of it; local paths become absolute.

    Do not keep the backend: it does not work in a forked process.
    """
    if not is_remote(place):
        return fsspec.filesystem("file"), str(Path(place.removeprefix("file://")).expanduser().absolute())
    protocol = place.partition("://")[0]
    try:
        fs, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else first_line(error)
        raise ShardError(f"{place}: the backend of {protocol}:// is not installed: {remedy}") from None
    except ValueError as error:
        raise ShardError(f"{place}: {first_line(error)}") from None
    return fs, path


def expand_braces(pattern: str) -> list[str]:
    """Return all names of a pattern with `{00..12}`, `{0..90..10}` or `{a,b}`, in the order of bash."""
    parts = re.split(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    # Odd parts stand inside braces.
    choices = [_brace_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _brace_choices(inside: str) -> list[str]:
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?", inside)
    if bounds is None:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last, step = int(bounds[1]), int(bounds[2]), int(bounds[3] or 1) or 1
    padded = any(len(text) > 1 and text.startswith("0") for text in (bounds[1], bounds[2]))
    width = max(len(bounds[1]), len(bounds[2])) if padded else 0
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return [f"{number:0{width}d}" for number in numbers]


def _find(place: str) -> list[ShardFile]:
    """Return the shards at one location, sorted by name."""
    fs, path = filesystem(place)
    fs.invalidate_cache()  # an earlier listing of this process may be out of date
    try:
        infos = call_with_retries(place, lambda: _match(fs, path, place))
    except FileNotFoundError as error:
        reason = "" if path in str(error) else f" ({first_line(error)})"
        raise ShardError(f"{place}: there is no such file or folder{reason}") from None
    if not infos:
        raise ShardError(f"{place}: no shard (a file *.tar) is there")
    with ThreadPoolExecutor(_THREADS) as pool:
        # The link page of an http server lacks the sizes.
        sized = list(
            pool.map(lambda info: info if info.get("size") is not None else dict(fs.info(info["name"])), infos)
        )
    return [_shard_file(fs, info) for info in sorted(sized, key=lambda info: str(info["name"]))]


def _match(fs: Any, path: str, place: str) -> list[dict[str, Any]]:
    """Return the backend's entries of the tars that a location names."""
    if not is_remote(place) and Path(path).exists():
        return _tar_or_folder(fs, path)  # the name of a file or folder may contain braces and stars
    wildcards = "*" if _is_http(place) else "*?"
    bare = _without_query(path)
    patterns = [name + path[len(bare) :] for name in expand_braces(bare)]
    if any(sign in bare for sign in wildcards):
        matches = [fs.glob(pattern, detail=True) for pattern in patterns]
        return [info for infos in matches for info in infos.values() if _is_tar(info)]
    return _tar_or_folder(fs, path) if patterns == [path] else _named(fs, patterns, place)


def _tar_or_folder(fs: Any, path: str) -> list[dict[str, Any]]:
    """Return the tar at a path, or the finished shards of the folder there."""
    if _without_query(path).endswith(".tar"):
        info = fs.info(path)
        if info["type"] != "directory":
            return [info]
    entries = fs.ls(path, detail=True)
    if [entry["name"] for entry in entries if entry["type"] == "file"] == [path.rstrip("/")]:
        return list(entries)  # a store lists a file as itself
    tars = {str(entry["name"]): entry for entry in entries if _is_tar(entry)}
    stats = [str(entry["name"]) for entry in entries if str(entry["name"]).endswith(STATS_SUFFIX)]
    finished = [name.removesuffix(STATS_SUFFIX) + ".tar" for name in stats]
    for name in finished:
        if name not in tars:
            raise ShardError(f"{name}: is missing, although its stats file exists; run verify")
    return [tars[name] for name in finished] if stats else list(tars.values())


def _named(fs: Any, names: Sequence[str], place: str) -> list[dict[str, Any]]:
    """Return the entries of these files."""
    # With a listing in its cache, a backend answers without a request per file.
    if len(names) > _THREADS and not _is_http(place):
        for folder in {fs._parent(name) for name in names}:
            with suppress(PermissionError, FileNotFoundError):  # a reader without the right to list
                fs.ls(folder)

    def stat(name: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = call_with_retries(_url(fs, name), lambda: fs.info(name))
        except FileNotFoundError:
            return None
        return info

    with ThreadPoolExecutor(_THREADS) as pool:
        infos = list(pool.map(stat, names))
    missing = [name for name, info in zip(names, infos, strict=True) if info is None]
    if missing:
        count = f"{len(missing)} of {len(names)} shards are not there"
        raise ShardError(f"{place}: {count}, the first is {_url(fs, missing[0])}")
    return [info for info in infos if info is not None]


def _shard_file(fs: Any, info: dict[str, Any]) -> ShardFile:
    url = _url(fs, str(info["name"]))
    if not is_remote(url):
        try:
            stat = Path(url).stat()
        except OSError as error:
            raise ShardError(f"{url}: cannot be read: {error}") from None
        return ShardFile(url, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")
    if info.get("size") is None:
        raise ShardError(f"{url}: its server does not tell its size; download it and read the copy")
    checksum = next((info[field] for field in _CHECKSUM_FIELDS if info.get(field)), None)
    modified = next((info[field] for field in _TIME_FIELDS if info.get(field)), "")
    if isinstance(modified, datetime):  # from fsspec's memory
        modified = modified.timestamp()
    return ShardFile(url, int(info["size"]), str(checksum).strip('"') if checksum else f"{info['size']}-{modified}")


def _url(fs: Any, name: str) -> str:
    """Return the URL of a backend's path; for a local file the path."""
    url: str = fs.unstrip_protocol(name)
    return url.removeprefix("file://")


def _is_tar(info: dict[str, Any]) -> bool:
    name = str(info["name"])
    return name.endswith(".tar") and (info["type"] == "file" or (info.get("islink", False) and not Path(name).is_dir()))


def _is_http(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _without_query(url: str) -> str:
    return url.partition("?")[0] if _is_http(url) else url
