"""Where shards are: on this machine's file systems, or on any store that fsspec has a backend for."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import fsspec

from shards.errors import ShardError
from shards.stats import SUFFIX
from shards.storage.retries import Missing, Refused, first_line, retried

_AT_ONCE = 16
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "az": "adlfs", "abfs": "adlfs",
}  # fmt: skip
_SUMS = ("ETag", "etag", "md5Hash", "blob_id")  # as the backends of S3, http, Google, and the hub call them
_TIMES = ("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class Tar:
    """One shard file. url: a plain absolute path if it is local. size: bytes.

    version: changes when the content does: the store's ETag or hash, else size and time of modification.
    """

    url: str
    size: int
    version: str

    @property
    def name(self) -> str:
        """Base name, such as `00012.tar`."""
        return _without_query(self.url).rpartition("/")[2]

    @property
    def local(self) -> Path | None:
        """Its path if it lies on this machine's file systems."""
        return None if is_remote(self.url) else Path(self.url)

    def beside(self, suffix: str) -> str:
        """Place of the file of the same stem: `00012_stats.json` for `_stats.json`, `00012.parquet` for `.parquet`."""
        bare = _without_query(self.url)
        return bare.removesuffix(".tar") + suffix + self.url[len(bare) :]


def find_tars(shards: str | Path | Sequence[str | Path]) -> list[Tar]:
    """The shards at a place, or at each of several, in the order of the places and sorted by name within one.

    A place is a folder, a tar, or a pattern of tars, local or a URL. Patterns have `*`, `?` (not in http URLs, where it
    begins the query), `{00000..00099}`, `{0..90..10}` and `{a,b}`. Of a folder that has files `NNNNN_stats.json`, only
    the shards with such a file are taken: the others are not finished.
    Raises ShardError where nothing is found, a named shard is missing or named twice, access is refused, or the
    backend of a URL is not installed.
    """
    places = [shards] if isinstance(shards, str | Path) else list(shards)
    tars = [tar for place in places for tar in _find(str(place))]
    if not tars:
        raise ShardError("no shards: the list of places is empty")
    seen: set[str] = set()
    for tar in tars:
        file = tar.url if is_remote(tar.url) else os.path.realpath(tar.url)
        if file in seen:
            raise ShardError(f"{tar.url}: named twice, so its samples would come twice in an epoch")
        seen.add(file)
    return tars


def stat_tar(url: str) -> Tar:
    """Size and version of a shard as they are now. Raises ShardError where it is missing or cannot be reached."""
    fs, path = filesystem(url)
    fs.invalidate_cache(fs._parent(path))
    try:
        return _tar(fs, retried(url, lambda: fs.info(path)))
    except FileNotFoundError:
        raise ShardError(f"{url}: it is gone from where it was found") from None


def read_bytes(url: str) -> bytes:
    """A small file. Raises Missing, or ShardError where it cannot be read."""
    fs, path = filesystem(url)
    try:
        data: bytes = retried(url, lambda: fs.cat_file(path))
    except FileNotFoundError:
        raise Missing(f"{url}: there is no such file") from None
    return data


def exists(url: str) -> bool:
    """Whether there is such a file or folder. Raises ShardError where its store cannot be reached."""
    fs, path = filesystem(url)
    try:
        return bool(retried(url, lambda: fs.info(path)))
    except (FileNotFoundError, Refused):  # S3 refuses to say that a key is missing to those who may not list
        return False


def download(url: str, path: Path) -> None:
    """Copy a remote file to a local path. Raises ShardError, and OSError where the disk takes no more."""
    fs, source = filesystem(url)
    try:
        # The backend's own way: over a loopback S3 with 20 ms of delay a request it was ahead of cat_file, and
        # from 8 MB on of ranged parts in threads; and s3fs asks for the 50 MB parts of a large shard side by side.
        retried(url, lambda: fs.get_file(source, str(path)))
    except FileNotFoundError:
        raise ShardError(f"{url}: it is gone from where it was found") from None


def cache_home() -> Path:
    """Folder of what is kept between runs: $SHARDMILL_CACHE, or `shardmill` in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("SHARDMILL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardmill"


def is_remote(place: str) -> bool:
    """Whether a place is a URL of a store, and not a path of this machine."""
    return "://" in place and not place.startswith("file://")


def expand_braces(pattern: str) -> list[str]:
    """All names of a pattern with `{00..12}`, `{0..90..10}` or `{a,b}`; several vary like an odometer, as in bash."""
    parts = re.split(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    choices = [_choices(part) if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    steps = re.fullmatch(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?", inside)
    if steps is None:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last, step = int(steps[1]), int(steps[2]), int(steps[3] or 1) or 1
    padded = any(len(text) > 1 and text.startswith("0") for text in (steps[1], steps[2]))
    width = max(len(steps[1]), len(steps[2])) if padded else 0
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return [f"{number:0{width}d}" for number in numbers]


def _find(place: str) -> list[Tar]:
    fs, path = filesystem(place)
    fs.invalidate_cache()  # what a listing said earlier in this process may have changed since
    try:
        infos = retried(place, lambda: _infos(fs, path, place))
    except FileNotFoundError as error:
        said = "" if path in str(error) else f" ({first_line(error)})"
        raise ShardError(f"{place}: there is no such file or folder{said}") from None
    if not infos:
        raise ShardError(f"{place}: no shard (a file *.tar) is there")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        whole = list(pool.map(lambda info: _with_size(fs, info), infos))
    return [_tar(fs, info) for info in sorted(whole, key=lambda info: str(info["name"]))]


def _infos(fs: Any, path: str, place: str) -> list[dict[str, Any]]:
    if not is_remote(place) and Path(path).exists():
        return _at(fs, path)  # a file or folder may have braces and stars in its name
    magic = "*" if _is_http(place) else "*?"
    bare = _without_query(path)
    patterns = [name + path[len(bare) :] for name in expand_braces(bare)]
    if any(sign in bare for sign in magic):
        found = [fs.glob(pattern, detail=True) for pattern in patterns]
        return [info for one in found for info in one.values() if _is_tar(info)]
    return _at(fs, path) if patterns == [path] else _named(fs, patterns, place)


def _at(fs: Any, path: str) -> list[dict[str, Any]]:
    """The tar at a path, or the finished shards of the folder there."""
    if _without_query(path).endswith(".tar"):
        info = fs.info(path)
        if info["type"] != "directory":
            return [info]
    entries = fs.ls(path, detail=True)
    if [entry["name"] for entry in entries if entry["type"] == "file"] == [path.rstrip("/")]:
        return list(entries)  # a store lists a file as itself
    tars = {str(entry["name"]): entry for entry in entries if _is_tar(entry)}
    stats = [str(entry["name"]) for entry in entries if str(entry["name"]).endswith(SUFFIX)]
    finished = [name.removesuffix(SUFFIX) + ".tar" for name in stats]
    for name in finished:
        if name not in tars:
            raise ShardError(f"{name}: its stats file is there, and the shard is not; run verify")
    return [tars[name] for name in finished] if stats else list(tars.values())


def _named(fs: Any, names: Sequence[str], place: str) -> list[dict[str, Any]]:
    """Each of these files. Many are listed first: backends answer from a listing what they would ask for one by one."""
    if len(names) > _AT_ONCE and not _is_http(place):
        for folder in {fs._parent(name) for name in names}:
            with suppress(PermissionError, FileNotFoundError):  # who may read may still not list
                fs.ls(folder)

    def facts(name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = retried(_url(fs, name), lambda: fs.info(name))
        except FileNotFoundError:
            return None
        return found

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        infos = list(pool.map(facts, names))
    missing = [name for name, info in zip(names, infos, strict=True) if info is None]
    if missing:
        count = f"{len(missing)} of {len(names)} shards are not there"
        raise ShardError(f"{place}: {count}, the first is {_url(fs, missing[0])}")
    return [info for info in infos if info is not None]


def _with_size(fs: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """A listing's entry; an http server's page of links names files and says no more."""
    return dict(fs.info(entry["name"])) if entry.get("size") is None else entry


def _tar(fs: Any, info: dict[str, Any]) -> Tar:
    url = _url(fs, str(info["name"]))
    if not is_remote(url):
        try:
            facts = Path(url).stat()
        except OSError as error:
            raise ShardError(f"{url}: cannot be read: {error}") from None
        return Tar(url, facts.st_size, f"{facts.st_size}-{facts.st_mtime_ns}")
    if info.get("size") is None:
        raise ShardError(f"{url}: its server does not tell its size; download it and read the copy")
    return Tar(url, int(info["size"]), _version(info))


def _url(fs: Any, name: str) -> str:
    """The URL of a backend's own path; for a local file the path."""
    url: str = fs.unstrip_protocol(name)
    return url.removeprefix("file://")


def _version(info: dict[str, Any]) -> str:
    told = next((info[field] for field in _SUMS if info.get(field)), None)
    changed = next((info[field] for field in _TIMES if info.get(field)), "")
    changed = (
        changed.timestamp() if isinstance(changed, datetime) else changed
    )  # listings of fsspec's memory have these
    return str(told).strip('"') if told else f"{info['size']}-{changed}"


def _is_tar(info: dict[str, Any]) -> bool:
    name = str(info["name"])
    return name.endswith(".tar") and (info["type"] == "file" or (info.get("islink", False) and not Path(name).is_dir()))


def _is_http(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _without_query(url: str) -> str:
    return url.partition("?")[0] if _is_http(url) else url


def filesystem(place: str) -> tuple[Any, str]:
    """Backend and its own path of a place; local paths become absolute. Never kept: backends do not outlive a fork."""
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
