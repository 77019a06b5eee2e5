"""Opens the store at a path or URL."""

from pathlib import Path

from shards.storage.bucket_store import BucketStore
from shards.storage.folder_store import FolderStore
from shards.storage.locations import filesystem, is_remote
from shards.storage.store import Store, StoreLike


def open_store(place: StoreLike, *, best_effort: bool = False) -> Store:
    """Open the store at a path or URL; see BucketStore for `best_effort`.

    Raises ShardError if the backend of a URL is not installed.
    """
    if isinstance(place, Store) and not best_effort:
        return place
    url = str(place)
    if is_remote(url):
        filesystem(url)
        return BucketStore(url, best_effort)
    return FolderStore(str(Path(url.removeprefix("file://")).expanduser().absolute()))
