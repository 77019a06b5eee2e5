"""A store in a folder of this machine's file systems."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.storage import commit
from shards.storage.retries import FileMissing
from shards.storage.store import Store, StoredFile


class FolderStore(Store):
    """A folder on a local or network file system."""

    @property
    def local(self) -> Path:
        return Path(self.url)

    def entries(self) -> dict[str, StoredFile]:
        try:
            with os.scandir(self.url) as entries:
                stats = {entry.name: entry.stat() for entry in entries if entry.is_file()}
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
        return commit.staging_path(self.local, name)

    def replace(self, name: str, data: bytes) -> None:
        commit.replace_bytes(self.local / name, data)

    def remove(self, name: str) -> None:
        (self.local / name).unlink(missing_ok=True)

    def sha256(self, name: str) -> str:
        try:
            return commit.sha256_of(self.local / name)
        except FileNotFoundError:
            raise self._missing(name) from None

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        if self.size(name) is None:
            raise self._missing(name)
        yield self.local / name

    def sweep(self) -> None:
        commit.sweep_staging(self.local)

    def free_bytes(self) -> int:
        return commit.free_bytes(self.local)

    def _create(self, staged: Path, name: str) -> None:
        commit.link(staged, self.local / name)

    def _missing(self, name: str) -> FileMissing:
        return FileMissing(f"{self.local / name}: there is no such file")
