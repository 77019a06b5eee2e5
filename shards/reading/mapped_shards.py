"""Memory maps of shards, from this disk or from the cache of remote ones."""

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

_MAX_MAPS = 256  # each costs a file descriptor


class MappedShards:
    """Memory maps of shards, by their number in an index.

    cache:  where whole remote shards are downloaded to.
    check_hashes: compare each shard with the SHA-256 in its stats file before it is used.
    window: how many shards are needed at a time (see EpochOrder); None: any.
    """

    def __init__(self, tars: Sequence[ShardFile], cache: ShardCache, check_hashes: bool, window: int | None) -> None:
        self._tars, self._cache, self._check_hashes = tars, cache, check_hashes
        self._prefetches = window is not None and any(tar.local is None for tar in tars)
        # A map keeps an evicted shard on the disk, so maps of remote shards are few.
        self._max_maps = 2 * window if self._prefetches and window else _MAX_MAPS
        self._maps: OrderedDict[int, Pixels] = OrderedDict()
        self._prefetched: tuple[int, int] | None = None  # epoch and window

    def data(self, shard: int) -> Pixels:
        """Return all bytes of a shard. Raises ShardError if it cannot be read or has another hash."""
        data = self._maps.get(shard)
        if data is None:
            tar = self._tars[shard]
            data = self._maps[shard] = self._map(tar, recorded_sha256(tar) if self._check_hashes else None)
            if len(self._maps) > self._max_maps:
                self._maps.popitem(last=False)  # slices that are being decoded keep their map open
        return data

    def _map(self, tar: ShardFile, sha256: str | None) -> Pixels:
        path = self._cache.path(tar, sha256)
        try:
            with path.open("rb") as file:
                return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except (OSError, ValueError) as error:  # mmap refuses an empty file
            if isinstance(error, FileNotFoundError) and tar.local is None:  # evicted by another process
                return self._map(tar, sha256)
            raise ShardError(f"{tar.url}: cannot be read: {error}; run verify") from None

    def prefetch(self, order: EpochOrder, position: int) -> None:
        """Start to download the remote shards of the window at a position of an order, and of the next window."""
        if not self._prefetches:
            return
        epoch, place = divmod(position, len(order))
        windows = order.windows(epoch)
        number = next(i for i, window in enumerate(windows) if place < window.end)
        if self._prefetched != (epoch, number):
            self._prefetched = epoch, number
            following = windows[number + 1] if number + 1 < len(windows) else order.windows(epoch + 1)[0]
            shards = dict.fromkeys((*windows[number].shards, *following.shards))
            self._cache.prefetch([self._tars[shard] for shard in shards])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}  # a worker process makes its own maps
