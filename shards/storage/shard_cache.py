"""Remote shards on this machine's disk, shared by all of its processes."""

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shards.errors import ShardError
from shards.storage.commit import sha256_of
from shards.storage.locations import Tar, cache_home, download, stat_tar

DEFAULT_LIMIT = 64 * 2**30
_THREADS = 4
_POLL_S = 0.05


class ShardCache:
    """A folder of whole shards: the least recently used make room for new ones.

    folder: `shards` in `cache_home()` by default. Ranks and loader workers of a machine share it.
    limit:  bytes that shards may take there together, those still arriving included.

    A shard is downloaded under another name, measured, and renamed, so what has its final name is whole whenever a
    process dies. Of several processes that want one shard, one downloads and the others wait for it or for its end.
    A shard that was evicted stays readable to those who have it open or mapped.
    """

    def __init__(self, folder: Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = cache_home() / "shards" if folder is None else Path(folder)
        self.limit = limit
        self._start()

    def path(self, tar: Tar, sha256: str | None = None) -> Path:
        """The shard on this disk; returns when it is whole. A local shard is its own.

        Open it at once: another process may evict it, and then this is to be called again.
        Raises ShardError where the store fails for good, the shard has changed there since it was found, it does not
        fit into limit or disk, or its SHA-256 is not the one given.
        """
        if tar.local is not None:
            _check_hash(tar, tar.local, sha256)
            return tar.local
        path = self.folder / _file_name(tar)
        try:
            fresh = self._fetch(tar, path)
            _check_hash(tar, path, sha256)
        except FileNotFoundError:  # evicted since
            return self.path(tar, sha256)
        except WrongHash:
            path.unlink(missing_ok=True)
            if fresh:
                raise
            return self.path(tar, sha256)  # a copy that went bad on this disk: once more from the store
        except OSError as error:
            raise ShardError(f"{self.folder}: cannot keep {tar.name} there: {error.strerror}; {_REMEDY}") from None
        return path

    def prefetch(self, tars: Sequence[Tar]) -> None:
        """Begin to download these shards in the background, the first ones first, in place of those named before.

        At most half of the limit is fetched ahead. What fails here is tried again, and raises, when it is used.
        """
        if self._pid != os.getpid():  # threads and locks do not live on in a forked worker
            self._start()
        wanted: deque[Tar] = deque()
        ahead = 0
        for tar in (tar for tar in tars if tar.local is None):
            ahead += tar.size
            if ahead > self.limit // 2:
                break
            wanted.append(tar)
        with self._lock:
            self._wanted = wanted
            for _ in range(min(_THREADS, len(wanted)) - self._threads):
                self._threads += 1
                # Daemons: a process that ends does not wait for shards that it will not read.
                threading.Thread(target=self._work, name="shards prefetch", daemon=True).start()

    def _start(self) -> None:
        self._pid, self._lock, self._threads = os.getpid(), threading.Lock(), 0
        self._wanted = deque[Tar]()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._threads -= 1
                    return
                tar = self._wanted.popleft()
            with suppress(ShardError):
                self.path(tar)

    def _fetch(self, tar: Tar, path: Path) -> bool:
        """Have the shard at `path`; whether this call downloaded it."""
        if _use(path):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(_lock_of(path)):
            if _use(path):
                return False
            with self._room_for(tar, path) as part:
                download(tar.url, part)
                if (found := part.stat().st_size) != tar.size or stat_tar(tar.url) != tar:
                    raise ShardError(
                        f"{tar.url}: it has changed since it was found ({found} bytes, then {tar.size}): open it again"
                    )
                with _locked(self.folder / "room.lock"):  # who counts what is here finds it under one of its two names
                    part.rename(path)
        return True

    @contextmanager
    def _room_for(self, tar: Tar, path: Path) -> Iterator[Path]:
        """A file to download into. Its name holds the size that it will have, by which all processes count it."""
        part = path.with_name(f"{path.name}.{tar.size}.part")
        while True:
            with _locked(self.folder / "room.lock"):
                if self._make_room(tar):
                    part.touch()
                    break
            time.sleep(_POLL_S)  # what others download now can be evicted when it has come
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, tar: Tar) -> bool:
        """Evict until `tar` fits; False while that must wait for downloads. Raises ShardError if it never will."""
        kept, arriving, unwritten = _content(self.folder)
        free = shutil.disk_usage(self.folder).free - unwritten
        room = min(self.limit - sum(size for _, size, _ in kept) - arriving, free)
        for _, size, path in kept:  # the least recently used first
            if room >= tar.size:
                break
            path.unlink(missing_ok=True)
            room += size
        if room >= tar.size or arriving:
            return room >= tar.size
        what = "the limit of the cache is" if self.limit < tar.size else "free on the disk are"
        raise ShardError(f"{tar.url}: it has {tar.size:,} bytes, and {what} {room:,} ({self.folder}); {_REMEDY}")

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class WrongHash(ShardError):
    """A shard's bytes are not those that its stats file or manifest names."""


_REMEDY = "set SHARDMILL_CACHE to a folder on another disk, or ShardCache(limit=...)"


def _file_name(tar: Tar) -> str:
    """One name for each content of each place, so that a new version is never taken for an old one."""
    told = hashlib.sha256(f"{tar.url}\n{tar.size}\n{tar.version}".encode()).hexdigest()
    return f"{tar.name.removesuffix('.tar')[:100]}-{told[:32]}.tar"


def _use(path: Path) -> bool:
    """Whether the shard is there; it is now the one used last."""
    try:
        os.utime(path)  # the time of modification, because many disks do not keep that of access
    except FileNotFoundError:
        return False
    return True


def _check_hash(tar: Tar, path: Path, sha256: str | None) -> None:
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise WrongHash(f"{tar.url}: its SHA-256 is {found}, and should be {sha256}; it is damaged or was replaced")


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _content(folder: Path) -> tuple[list[tuple[int, int, Path]], int, int]:
    """(time of use, size, path) of the shards there, oldest first; bytes arriving; those of them not yet on disk.

    Parts that a dead process left are removed: nobody holds the lock of their shard.
    """
    kept, arriving, unwritten = [], 0, 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # renamed or evicted since
            facts = path.stat()
            if path.suffix == ".tar":
                kept.append((facts.st_mtime_ns, facts.st_size, path))
            elif path.suffix == ".part":
                name, size, _ = path.name.rsplit(".", 2)
                if _is_locked(folder / f"{name}.lock"):
                    arriving, unwritten = arriving + int(size), unwritten + int(size) - facts.st_size
                else:
                    path.unlink()
    return sorted(kept), arriving, unwritten


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all threads and processes. The file is gone afterwards; a process that dies loses its lock."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_file(descriptor, path):
            break
        _unlock(descriptor)  # its last holder removed it while we waited; others may still wait for it
    try:
        yield
    finally:
        path.unlink()
        _unlock(descriptor)


def _unlock(descriptor: int) -> None:
    """And close it. A forked worker may have the descriptor too, with which the lock would live on if that were all."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return True
    _unlock(descriptor)
    return False


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
