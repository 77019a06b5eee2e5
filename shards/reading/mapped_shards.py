"""The bytes of shards: mapped into memory, from this disk or from the cache of remote ones."""

import mmap
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from shards.codec import Pixels
from shards.errors import ShardError
from shards.reading.epoch_order import EpochOrder
from shards.reading.shard_index import recorded_sha256
from shards.storage.locations import ShardFile
from shards.storage.shard_cache import ShardCache

_MAPPED = 256
"""Shards that are mapped at a time: each costs a file descriptor."""


class MappedShards:
    """Shards by their number in an index.

    cache:  where remote ones are brought; a whole one at a time.
    check_hashes: compare each with the SHA-256 in its stats file before anything of it is used.
    window: how many are needed at a time (see EpochOrder); None: any.
    """

    def __init__(self, tars: Sequence[ShardFile], cache: ShardCache, check_hashes: bool, window: int | None) -> None:
        self._tars, self._cache, self._check_hashes = tars, cache, check_hashes
        self._fetched = window is not None and any(tar.local is None for tar in tars)
        # What is mapped stays on the disk, even if the cache has let it go.
        self._kept = 2 * window if self._fetched and window else _MAPPED
        self._maps: OrderedDict[int, Pixels] = OrderedDict()
        self._ahead: tuple[int, int] | None = None

    def data(self, shard: int) -> Pixels:
        """All of it. Raises ShardError where it cannot be read, or has not the recorded hash."""
        found = self._maps.get(shard)
        if found is None:
            tar = self._tars[shard]
            found = self._maps[shard] = self._mapped(tar, recorded_sha256(tar) if self._check_hashes else None)
            if len(self._maps) > self._kept:
                self._maps.popitem(last=False)  # what is being decoded of it holds it still
        return found

    def _mapped(self, tar: ShardFile, sha256: str | None) -> Pixels:
        path = self._cache.path(tar, sha256)
        try:
            with path.open("rb") as file:
                return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except FileNotFoundError as error:
            if tar.local is None:  # another process has evicted it since
                return self._mapped(tar, sha256)
            raise ShardError(f"{tar.url}: cannot be read: {error}; run verify") from None
        except (OSError, ValueError) as error:
            raise ShardError(f"{tar.url}: cannot be read: {error}; run verify") from None

    def fetch_ahead(self, order: EpochOrder, position: int) -> None:
        """Have remote shards brought that this position of an order needs, and those of the window after it."""
        if not self._fetched:
            return
        epoch, place = divmod(position, len(order))
        windows = order.windows(epoch)
        number = next(i for i, window in enumerate(windows) if place < window.end)
        if self._ahead != (epoch, number):
            self._ahead = epoch, number
            following = windows[number + 1] if number + 1 < len(windows) else order.windows(epoch + 1)[0]
            wanted = dict.fromkeys((*windows[number].shards, *following.shards))
            self._cache.prefetch([self._tars[shard] for shard in wanted])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}  # a worker process has its own
