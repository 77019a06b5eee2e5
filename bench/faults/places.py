"""The files of a run in a folder or in a bucket, read and changed without the engine."""

from pathlib import Path
from typing import Protocol

from bench.s3_server import S3

BUCKET = "runs"


class Place(Protocol):
    """The storage of a run. url: the argument of `--out`."""

    url: str

    def names(self, part: str = "shards") -> set[str]:
        """Return the names of the files in a folder of the run."""
        ...

    def read(self, name: str, part: str = "shards") -> bytes:
        """Return the content of a file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file into the folder of shards."""
        ...

    def staged(self) -> list[Path]:
        """Return the files on this machine that are staged and not published."""
        ...

    def temporary_files(self) -> list[str]:
        """Return what else interrupted writers left behind: probe files, and parts of uploads."""
        ...


class Folder:
    """A run folder on a disk."""

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, str(path)

    def names(self, part: str = "shards") -> set[str]:
        """See Place."""
        return {path.name for path in _files(self.path / part)}

    def read(self, name: str, part: str = "shards") -> bytes:
        """See Place."""
        return (self.path / part / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See Place."""
        (self.path / "shards" / name).write_bytes(data)

    def staged(self) -> list[Path]:
        """See Place."""
        return [path for part in (".", "shards", "quarantine") for path in _files(self.path / part / ".staging")]

    def temporary_files(self) -> list[str]:
        """See Place."""
        return [str(path) for path in self.path.rglob(".probe*")]


class Bucket:
    """A prefix of a bucket. cache: the folder to which SHARDMILL_CACHE is set."""

    def __init__(self, store: S3, prefix: str, cache: Path) -> None:
        self.store, self._prefix, self._cache = store, prefix, cache
        self.url = f"s3://{BUCKET}/{prefix}"

    def names(self, part: str = "shards") -> set[str]:
        """See Place."""
        return {name for name in self.store.names(BUCKET, f"{self._prefix}/{part}/") if "/" not in name}

    def read(self, name: str, part: str = "shards") -> bytes:
        """See Place."""
        return self.store.get(BUCKET, f"{self._prefix}/{part}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """See Place."""
        self.store.put(BUCKET, f"{self._prefix}/shards/{name}", data)

    def staged(self) -> list[Path]:
        """See Place."""
        return _files(self._cache / ".staging")

    def temporary_files(self) -> list[str]:
        """See Place."""
        probes = [name for name in self.store.names(BUCKET, f"{self._prefix}/") if ".probe" in name]
        return probes + self.store.unfinished_uploads(BUCKET)


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except FileNotFoundError:
        return []
