"""Where shards are published: a folder, or a prefix of an object store. This is the protocol of the commit.

A shard is three files. Its tar and index are published first, its stats file last: a unit is done when its stats file
exists, which names size and SHA-256 of the other two.

- A file appears whole or not at all, under a name that is given once: in a folder by a hard link from a staging folder
  of the same file system, in an object store by one conditional put (`If-None-Match: *`, or what its backend has).
- Of two writers of a name one wins. The other one compares: equal bytes are a success, for they are its own put whose
  answer was lost, or another worker's of the same unit; other bytes are a CommitConflict.
- A request that may pass is sent again, a few times, with growing pauses: after 409, 429, 5xx, time-outs, hang-ups.
- What a dead writer left is swept when it is older than a live writer's work can be.

Not every store refuses to overwrite: `refuses_overwriting` asks it.
"""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from shards.errors import CommitConflict
from shards.storage import commit
from shards.storage.commit import STAGING, sha256_of, staging_path
from shards.storage.locations import cache_home, filesystem, is_remote
from shards.storage.retries import Missing, retried

_PROBE = ".probe"


@dataclass(frozen=True)
class StoredFile:
    """A file in a store. modified: seconds since 1970, by the store's clock."""

    size: int
    modified: float


class Store(ABC):
    """Files by name, directly in one folder. url: a path if it is local. Pickles, and outlives a fork.

    Every method raises ShardError where an object store cannot be reached or refuses, and OSError for a local disk.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __truediv__(self, name: str) -> Self:
        """A folder in this one; it need not exist."""
        return type(self)(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    @abstractmethod
    def local(self) -> Path | None:
        """The folder, if it is one of this machine's file systems."""

    @abstractmethod
    def entries(self) -> dict[str, StoredFile]:
        """The files that are there now, by name and in the order of names; none where there is no such folder."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a file as it is now; None where there is none."""

    @abstractmethod
    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """A file, or `size` bytes of it from `start` on. Raises Missing."""

    @abstractmethod
    def staging(self, name: str) -> Path:
        """A local path, unused so far, for a file that will be published as `name`."""

    def publish(self, staged: Path, name: str) -> None:
        """Give a staged file its name, for good, and remove the staged one.

        An equal file under that name counts as success. Raises CommitConflict where the name holds other bytes.
        """
        try:
            self._create(staged, name)
        except FileExistsError:
            if self.sha256(name) != sha256_of(staged):
                raise CommitConflict(
                    f"{self.url}/{name} exists with other bytes than the ones just made; if its unit has no stats file "
                    "it was never finished: run repair, and then the same command again"
                ) from None
        staged.unlink()

    def publish_json(self, name: str, content: Mapping[str, Any]) -> bool:
        """Write `content` and publish it; False if another writer has published that name with other bytes before."""
        staged = self.staging(name)
        try:
            staged.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            self.publish(staged, name)
        except CommitConflict:
            return False
        finally:  # also where the disk is full
            staged.unlink(missing_ok=True)
        return True

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file that may change (a card, a report), so that a reader sees the old one or the new one, whole."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def sha256(self, name: str) -> str:
        """SHA-256 of a file's bytes, in hex, in constant memory. Raises Missing."""

    @abstractmethod
    def at_hand(self, name: str) -> AbstractContextManager[Path]:
        """A context manager that gives a local path of a file: itself, or a copy for as long as the block runs.

        Raises Missing.
        """

    @abstractmethod
    def sweep(self) -> None:
        """Remove what writers left staged, a day ago or earlier."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """How much fits, if there is a limit that can be known."""

    def refuses_overwriting(self) -> bool:
        """Whether a second writer of a name is refused, tried with a file that is removed again."""
        name = f"{_PROBE}-{token_hex(8)}"
        staged = self.staging(name)
        try:
            for text in ("first", "second"):
                staged.write_text(text)
                self._create(staged, name)
        except FileExistsError:
            return True
        finally:
            staged.unlink(missing_ok=True)
            self.remove(name)
        return False

    @abstractmethod
    def _create(self, staged: Path, name: str) -> None:
        """Copy or link; raises FileExistsError where the name is taken."""


class Folder(Store):
    """A folder on a file system of this machine, which may be a network's."""

    @property
    def local(self) -> Path:
        return Path(self.url)

    def entries(self) -> dict[str, StoredFile]:
        try:
            with os.scandir(self.url) as found:
                stats = {one.name: one.stat() for one in found if one.is_file()}
        except FileNotFoundError:
            return {}
        return {name: StoredFile(stat.st_size, stat.st_mtime) for name, stat in sorted(stats.items())}

    def size(self, name: str) -> int | None:
        try:
            return (self.local / name).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        try:
            with (self.local / name).open("rb") as file:
                file.seek(start)
                return file.read() if size is None else file.read(size)
        except FileNotFoundError:
            raise self._missing(name) from None

    def staging(self, name: str) -> Path:
        return staging_path(self.local, name)

    def replace(self, name: str, data: bytes) -> None:
        commit.replace_bytes(self.local / name, data)

    def remove(self, name: str) -> None:
        (self.local / name).unlink(missing_ok=True)

    def sha256(self, name: str) -> str:
        try:
            return sha256_of(self.local / name)
        except FileNotFoundError:
            raise self._missing(name) from None

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        if self.size(name) is None:
            raise self._missing(name)
        yield self.local / name

    def sweep(self) -> None:
        commit.sweep_staging(self.local)

    def free_bytes(self) -> int:
        return commit.free_bytes(self.local)

    def _create(self, staged: Path, name: str) -> None:
        commit.link(staged, self.local / name)

    def _missing(self, name: str) -> Missing:
        return Missing(f"{self.local / name}: there is no such file")


class Bucket(Store):
    """A prefix of an object store, by fsspec's backend for it. Files are staged on this machine's disk.

    best_effort: for a store that does not refuse to overwrite. A name is then looked up before it is written, which of
                 two writers at the same moment stops neither.
    """

    def __init__(self, url: str, best_effort: bool = False) -> None:
        super().__init__(url.rstrip("/"))
        self.best_effort = best_effort

    def __truediv__(self, name: str) -> "Bucket":
        return Bucket(f"{self.url}/{name}", self.best_effort)

    @property
    def local(self) -> None:
        return None

    def entries(self) -> dict[str, StoredFile]:
        fs, path = filesystem(self.url)
        fs.invalidate_cache()  # what a listing said earlier in this process may have changed since
        try:
            found = retried(self.url, lambda: fs.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        files = {str(one["name"]).rpartition("/")[2]: one for one in found if one["type"] == "file"}
        return {name: StoredFile(int(one["size"]), _modified(one)) for name, one in sorted(files.items())}

    def size(self, name: str) -> int | None:
        fs, path = filesystem(f"{self.url}/{name}")
        return retried(f"{self.url}/{name}", lambda: _size(fs, path))

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        fs, path = filesystem(f"{self.url}/{name}")
        end = None if size is None else start + size
        try:
            data: bytes = retried(f"{self.url}/{name}", lambda: fs.cat_file(path, start=start, end=end))
        except FileNotFoundError:
            raise Missing(f"{self.url}/{name}: there is no such file") from None
        return data

    def staging(self, name: str) -> Path:
        return staging_path(cache_home(), name)

    def replace(self, name: str, data: bytes) -> None:
        fs, path = filesystem(f"{self.url}/{name}")
        retried(f"{self.url}/{name}", lambda: fs.pipe_file(path, data), "written")

    def remove(self, name: str) -> None:
        fs, path = filesystem(f"{self.url}/{name}")
        with suppress(FileNotFoundError):
            retried(f"{self.url}/{name}", lambda: fs.rm_file(path), "removed")

    def sha256(self, name: str) -> str:
        with self.at_hand(name) as path:
            return sha256_of(path)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        copy = self.staging(name)
        try:
            self._copy_to(name, copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _copy_to(self, name: str, copy: Path) -> None:
        fs, path = filesystem(f"{self.url}/{name}")
        try:
            retried(f"{self.url}/{name}", lambda: fs.get_file(path, str(copy)))
        except FileNotFoundError:
            raise Missing(f"{self.url}/{name}: there is no such file") from None

    def sweep(self) -> None:
        commit.sweep_staging(cache_home())

    def free_bytes(self) -> None:
        return None

    def _create(self, staged: Path, name: str) -> None:
        url = f"{self.url}/{name}"
        fs, path = filesystem(url)
        if self.best_effort and self.size(name) is not None:
            raise FileExistsError(url)
        mode = "overwrite" if self.best_effort else "create"
        try:
            # One put of a whole file: a stream that breaks off publishes what it has.
            retried(url, lambda: fs.put_file(str(staged), path, mode=mode), "written")
        except FileNotFoundError:
            # A large file's parts are put together by a last request; when that is sent again because its answer was
            # lost, the store knows of no such upload any more.
            if self.size(name) is None:
                raise
            raise FileExistsError(url) from None


def open_store(place: "str | Path | Store", *, best_effort: bool = False) -> Store:
    """The store at a path or URL. Raises ShardError where the backend of a URL is not installed."""
    if isinstance(place, Store) and not best_effort:
        return place
    if not is_remote(str(place)):
        return Folder(str(Path(str(place).removeprefix("file://")).expanduser().absolute()))
    filesystem(str(place))
    return Bucket(str(place), best_effort)


def _size(fs: Any, path: str) -> int | None:
    fs.invalidate_cache(fs._parent(path))
    try:
        return int(fs.info(path)["size"])
    except FileNotFoundError:
        return None


def _modified(info: Mapping[str, Any]) -> float:
    """When a listing says that a file was written; now, where it does not."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        told = info.get(name)
        if isinstance(told, str):
            told = datetime.fromisoformat(told)
        if told is not None:
            return told.timestamp() if isinstance(told, datetime) else float(told)
    return time.time()


def is_staged(name: str) -> bool:
    """Whether a file or folder beside shards is the protocol's own."""
    return name == STAGING or name.startswith(_PROBE)
