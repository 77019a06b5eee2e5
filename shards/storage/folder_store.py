"""A store in a folder of this machine's file systems."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.storage.commit import link, replace_bytes
from shards.storage.store import Store, StoredFile


class FolderStore(Store):
    """A folder on a local or network file system."""

    def entries(self) -> dict[str, StoredFile]:
        try:
            with os.scandir(self.url) as entries:
                stats = {entry.name: entry.stat() for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return {}
        return {name: StoredFile(stat.st_size, stat.st_mtime) for name, stat in sorted(stats.items())}

    def size(self, name: str) -> int | None:
        try:
            return Path(self.url, name).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        try:
            with Path(self.url, name).open("rb") as file:
                file.seek(start)
                return file.read() if size is None else file.read(size)
        except FileNotFoundError:
            raise self._missing(name) from None

    def replace(self, name: str, data: bytes) -> None:
        replace_bytes(Path(self.url, name), data)

    def remove(self, name: str) -> None:
        Path(self.url, name).unlink(missing_ok=True)

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        if self.size(name) is None:
            raise self._missing(name)
        yield Path(self.url, name)

    def _create(self, staged: Path, name: str) -> None:
        link(staged, Path(self.url, name))
