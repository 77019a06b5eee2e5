"""A store in a bucket of an object store."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from shards.storage.locations import filesystem
from shards.storage.retries import call_with_retries
from shards.storage.store import Store, StoredFile

_T = TypeVar("_T")


class BucketStore(Store):
    """A prefix of an object store, through its fsspec backend. Files are staged on this machine's disk.

    best_effort: look each name up before it is written, for a store that would overwrite. Two writers may still meet.
    """

    def __init__(self, url: str, best_effort: bool = False) -> None:
        super().__init__(url.rstrip("/"))
        self.best_effort = best_effort

    def __truediv__(self, name: str) -> "BucketStore":
        return BucketStore(f"{self.url}/{name}", self.best_effort)

    def entries(self) -> dict[str, StoredFile]:
        fs, path = filesystem(self.url)
        fs.invalidate_cache()  # an earlier listing of this process may be out of date
        try:
            infos = call_with_retries(self.url, lambda: fs.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        files = {str(info["name"]).rpartition("/")[2]: info for info in infos if info["type"] == "file"}
        return {name: StoredFile(int(info["size"]), _modified(info)) for name, info in sorted(files.items())}

    def size(self, name: str) -> int | None:
        fs, path = filesystem(f"{self.url}/{name}")
        fs.invalidate_cache(fs._parent(path))
        try:
            return int(self._request(name, lambda fs, path: fs.info(path))["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        end = None if size is None else start + size
        try:
            data: bytes = self._request(name, lambda fs, path: fs.cat_file(path, start=start, end=end))
        except FileNotFoundError:
            raise self._missing(name) from None
        return data

    def replace(self, name: str, data: bytes) -> None:
        self._request(name, lambda fs, path: fs.pipe_file(path, data), "written")

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._request(name, lambda fs, path: fs.rm_file(path), "removed")

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        copy = self.staging(name)
        try:
            try:
                self._request(name, lambda fs, path: fs.get_file(path, str(copy)))
            except FileNotFoundError:
                raise self._missing(name) from None
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _create(self, staged: Path, name: str) -> None:
        if self.best_effort and self.size(name) is not None:
            raise FileExistsError(name)
        mode = "overwrite" if self.best_effort else "create"
        try:
            # One put of a whole file: a stream that breaks off would publish the part that it has sent.
            self._request(name, lambda fs, path: fs.put_file(str(staged), path, mode=mode), "written")
        except FileNotFoundError:
            # The last request of a multipart upload joins the parts. When its answer is lost and it is sent again, the
            # store no longer knows the upload, although the file is there.
            if self.size(name) is None:
                raise
            raise FileExistsError(name) from None

    def _request(self, name: str, request: Callable[[Any, str], _T], action: str = "read") -> _T:
        """Call `request` with the backend and its path of a file, with retries."""
        url = f"{self.url}/{name}"
        fs, path = filesystem(url)
        return call_with_retries(url, lambda: request(fs, path), action)


def _modified(info: Mapping[str, Any]) -> float:
    """Return the time at which a file was written, in seconds since 1970; now if the listing does not say."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = info.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if value is not None:
            return value.timestamp() if isinstance(value, datetime) else float(value)
    return time.time()
