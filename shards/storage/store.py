"""The commit protocol, over any place where shards are published: a folder, or a prefix of an object store.

A shard is three files. Its tar and index are published first and its stats file last. The stats file names the size and
SHA-256 of the other two. A unit is done when its stats file exists.

- A file appears whole or not at all. A folder uses a hard link from a staging folder of the same file system; an object
  store uses one conditional put (`If-None-Match: *`, or the equivalent of its backend).
- A name is never overwritten. If two writers publish the same name, one wins and the other compares. Equal bytes count
  as success, because they may be the loser's own put whose answer was lost. Other bytes are a CommitConflict.
- Staged files of dead writers are swept after a day.

Some stores overwrite silently. `Store.refuses_overwriting` tests for that.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from shards.errors import CommitConflict
from shards.storage.commit import STAGING, free_bytes, sha256_of, staging_path, sweep_staging
from shards.storage.locations import cache_home, is_remote
from shards.storage.retries import FileMissing

_PROBE = ".probe"


@dataclass(frozen=True)
class StoredFile:
    """A file in a store. size: bytes. modified: seconds since 1970, by the store's clock."""

    size: int
    modified: float


class Store(ABC):
    """Files by name, directly in one folder. Pickles, and works in forked processes.

    url: a plain path if the folder is local. local: this path; None in an object store.

    Every method raises ShardError if an object store cannot be reached or refuses, and OSError for a local disk.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.local = None if is_remote(url) else Path(url)

    def __truediv__(self, name: str) -> Self:
        """Return a subfolder, which need not exist."""
        return type(self)(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.url

    @abstractmethod
    def entries(self) -> dict[str, StoredFile]:
        """Return the files by name, sorted; empty if the folder does not exist."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the present size of a file in bytes; None if it does not exist."""

    @abstractmethod
    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """Return a file's bytes, or `size` bytes from `start` on. Raises FileMissing."""

    def staging(self, name: str) -> Path:
        """Return an unused local path for a file that will be published as `name`."""
        return staging_path(self.local or cache_home(), name)

    def publish(self, staged: Path, name: str) -> None:
        """Give a staged file its permanent name and remove the staged copy.

        An equal file under that name counts as success. Raises CommitConflict if the name holds other bytes.
        """
        try:
            self._create(staged, name)
        except FileExistsError:
            if self.sha256(name) != sha256_of(staged):
                raise CommitConflict(
                    f"{self.url}/{name}: exists with other bytes than those just made; if its unit has no stats file, "
                    "run repair and then the same command again"
                ) from None
        staged.unlink()

    def publish_json(self, name: str, content: Mapping[str, Any]) -> bool:
        """Write and publish a JSON file; return False if the name was published before with other bytes."""
        staged = self.staging(name)
        try:
            staged.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            self.publish(staged, name)
        except CommitConflict:
            return False
        finally:  # the disk may be full
            staged.unlink(missing_ok=True)
        return True

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file that may change (a card, a report). Readers see the old or the new version, never a part."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file in hex, in constant memory. Raises FileMissing."""
        with self.local_copy(name) as path:
            return sha256_of(path)

    @abstractmethod
    def local_copy(self, name: str) -> AbstractContextManager[Path]:
        """Give the local path of a file, or of a copy that exists inside the `with` block. Raises FileMissing."""

    def sweep(self) -> None:
        """Remove staged files that are older than a day."""
        sweep_staging(self.local or cache_home())

    def free_bytes(self) -> int | None:
        """Return the free space in bytes; None if there is no known limit."""
        return None if self.local is None else free_bytes(self.local)

    def refuses_overwriting(self) -> bool:
        """Test with a temporary file whether the store refuses a second writer of a name."""
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
        """Copy or link a staged file to its name. Raises FileExistsError if the name is taken."""

    def _missing(self, name: str) -> FileMissing:
        return FileMissing(f"{self.url}/{name}: there is no such file")


StoreLike = str | Path | Store


def is_temporary(name: str) -> bool:
    """Return whether a name belongs to the commit protocol: the staging folder or a probe file."""
    return name == STAGING or name.startswith(_PROBE)
