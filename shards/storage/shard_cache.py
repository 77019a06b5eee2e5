"""A disk cache of remote shards, shared by all processes of a machine."""

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

from filelock import FileLock, Timeout

from shards.errors import ShardError
from shards.storage.commit import sha256_of
from shards.storage.locations import ShardFile, cache_home, download, stat_tar

DEFAULT_LIMIT = 64 * 2**30
_THREADS = 4
_LOCK_POLL_S = 0.01
_ROOM_POLL_S = 0.05
_REMEDY = "set SHARDMILL_CACHE to a folder on another disk, or ShardCache(limit=...)"


class HashMismatch(ShardError):
    """A shard's bytes are not those that its stats file or manifest names."""


class ShardCache:
    """A folder of whole shards. The least recently used are evicted for new ones.

    folder: `shards` in `cache_home()` by default. Ranks and loader workers of a machine share it.
    limit:  bytes that all shards may take together, including those that are being downloaded.

    A file with a final name is whole, even if processes die. If several processes want one shard, one downloads it and
    the others wait. An evicted shard stays readable for those that have it open or mapped.
    """

    def __init__(self, folder: Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = cache_home() / "shards" if folder is None else Path(folder)
        self.limit = limit
        self._prefetcher = _Prefetcher(self)

    def path(self, tar: ShardFile, sha256: str | None = None) -> Path:
        """Return the local path of a whole shard, after downloading it if necessary. A local shard is not copied.

        Open it at once: another process may evict it; then call this again. Raises ShardError if the download fails,
        the remote shard has changed since it was found, there is no room, or its SHA-256 differs from `sha256`.
        """
        if tar.local is not None:
            _check_hash(tar, tar.local, sha256)
            return tar.local
        # Unique for location and version, so that a new version is never taken for an old one.
        digest = hashlib.sha256(f"{tar.url}\n{tar.size}\n{tar.version}".encode()).hexdigest()
        path = self.folder / f"{tar.name.removesuffix('.tar')[:100]}-{digest[:32]}.tar"
        try:
            fresh = self._fetch(tar, path)
            _check_hash(tar, path, sha256)
        except FileNotFoundError:  # evicted meanwhile
            return self.path(tar, sha256)
        except HashMismatch:
            path.unlink(missing_ok=True)
            if fresh:
                raise
            return self.path(tar, sha256)  # the copy on this disk was damaged: download it again
        except OSError as error:
            raise ShardError(f"{self.folder}: cannot keep {tar.name} there: {error.strerror}; {_REMEDY}") from None
        return path

    def prefetch(self, tars: Sequence[ShardFile]) -> None:
        """Start to download these shards in the background, in order, instead of those of the previous call.

        At most half of the limit is prefetched. Errors are ignored here; `path` tries again and raises them.
        """
        if self._prefetcher.pid != os.getpid():  # a forked process inherits neither threads nor a usable mutex
            self._prefetcher = _Prefetcher(self)
        queue: deque[ShardFile] = deque()
        size = 0
        for tar in (tar for tar in tars if tar.local is None):
            size += tar.size
            if size > self.limit // 2:
                break
            queue.append(tar)
        self._prefetcher.replace_queue(queue)

    def _fetch(self, tar: ShardFile, path: Path) -> bool:
        """Have the shard at `path`. Return whether this call downloaded it."""
        if _touch(path):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(path.name):
            if _touch(path):
                return False
            with self._reserve(tar, path) as part:
                download(tar.url, part)
                size = part.stat().st_size
                if size != tar.size or stat_tar(tar.url) != tar:
                    raise ShardError(
                        f"{tar.url}: it has changed since it was found ({size} bytes, then {tar.size}): open it again"
                    )
                with self._lock("room"):  # who measures the cache meanwhile must see exactly one of the two names
                    part.rename(path)
        return True

    @contextmanager
    def _reserve(self, tar: ShardFile, path: Path) -> Iterator[Path]:
        """Give a file to download into. Its name holds its final size, which all processes count as taken."""
        part = path.with_name(f"{path.name}.{tar.size}.part")
        part.unlink(missing_ok=True)  # of a dead process: this one holds the lock of the shard
        while True:
            with self._lock("room"):
                if self._make_room(tar):
                    part.touch()
                    break
            time.sleep(_ROOM_POLL_S)  # a shard that is being downloaded can be evicted once it is complete
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, tar: ShardFile) -> bool:
        """Evict shards until `tar` fits. Return False if it must wait for downloads. Raises ShardError for no room."""
        complete, arriving, unwritten = self._contents()
        free = shutil.disk_usage(self.folder).free - unwritten
        room = min(self.limit - sum(size for _, size, _ in complete) - arriving, free)
        for _, size, path in complete:  # least recently used first
            if room >= tar.size:
                break
            path.unlink(missing_ok=True)
            room += size
        if room >= tar.size or arriving:
            return room >= tar.size
        what = "the limit of the cache is" if self.limit < tar.size else "free on the disk are"
        raise ShardError(f"{tar.url}: it has {tar.size:,} bytes, and {what} {room:,} ({self.folder}); {_REMEDY}")

    def _contents(self) -> tuple[list[tuple[int, int, Path]], int, int]:
        """Return (time of use, size, path) of the complete shards, oldest first; bytes that downloads will take; bytes
        of these that are not on the disk yet. Parts of dead processes are removed."""
        complete, arriving, unwritten = [], 0, 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # renamed or evicted meanwhile
                stat = path.stat()
                if path.suffix == ".tar":
                    complete.append((stat.st_mtime_ns, stat.st_size, path))
                elif path.suffix == ".part":
                    name, size, _ = path.name.rsplit(".", 2)
                    try:
                        with self._lock(name, timeout=0):  # nobody downloads it
                            path.unlink()
                    except Timeout:
                        arriving, unwritten = arriving + int(size), unwritten + int(size) - stat.st_size
        return sorted(complete), arriving, unwritten

    def _lock(self, name: str, timeout: float = -1) -> FileLock:
        """Return a lock that excludes all other threads and processes. It ends with its process."""
        # The lock files stay. Removing one would let a waiter lock a file that nobody else can find.
        return FileLock(self.folder / ".locks" / f"{name}.lock", timeout=timeout, poll_interval=_LOCK_POLL_S)

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardCache, (self.folder, self.limit)


class _Prefetcher:
    """Background threads of one process that download a queue of shards."""

    def __init__(self, cache: ShardCache) -> None:
        self._cache, self.pid = cache, os.getpid()
        self._queue = deque[ShardFile]()
        self._mutex, self._threads = threading.Lock(), 0

    def replace_queue(self, queue: deque[ShardFile]) -> None:
        with self._mutex:
            self._queue = queue
            for _ in range(min(_THREADS, len(queue)) - self._threads):
                self._threads += 1
                # Daemon threads: an ending process does not wait for shards that it will not read.
                threading.Thread(target=self._work, name="shards prefetch", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._mutex:
                if not self._queue:
                    self._threads -= 1
                    return
                tar = self._queue.popleft()
            with suppress(ShardError):
                self._cache.path(tar)


def _touch(path: Path) -> bool:
    """Mark a shard as used now. Return whether it exists."""
    try:
        os.utime(path)  # the modification time, because many disks do not record access times
    except FileNotFoundError:
        return False
    return True


def _check_hash(tar: ShardFile, path: Path, sha256: str | None) -> None:
    if sha256 is not None and (actual := sha256_of(path)) != sha256:
        raise HashMismatch(f"{tar.url}: its SHA-256 is {actual}, and should be {sha256}; it is damaged or was replaced")
