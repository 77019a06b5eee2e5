"""Reads the samples of shards by their row in the index, from memory maps of local shards or of cached remote ones."""

import mmap
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shards.codec import CorruptImage, Pixels, decode_rgb
from shards.errors import ShardError
from shards.reading.epoch_order import EpochOrder
from shards.reading.members import parse_metadata
from shards.reading.shard_index import ShardIndex, recorded_sha256
from shards.storage.locations import ShardFile
from shards.storage.shard_cache import ShardCache

OnError = Literal["raise", "skip"]
_MAX_MAPS = 256  # each costs a file descriptor


class MappedShards:
    """Memory maps of shards, by number in an index. cache, check_hashes: see ShardStream; window: see EpochOrder."""

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


@dataclass(eq=False)
class SampleReader:
    """A reader of samples by their row in the index.

    label, synthetic: of every row of the index.
    rows:      the rows that may replace a damaged sample.
    fields, has_masks, on_error: see ShardStream.
    skipped:   key of each damaged sample that was replaced, and why.
    """

    index: ShardIndex
    files: MappedShards
    label: NDArray[np.int64]
    synthetic: NDArray[np.bool_]
    rows: NDArray[np.int64]
    fields: tuple[str, ...]
    has_masks: bool
    on_error: OnError
    skipped: dict[str, str] = field(default_factory=dict, init=False)
    _replacements: dict[int, int] = field(default_factory=dict, init=False)

    def keys(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the keys of these samples."""
        return list(self.index.keys.take(rows).to_pylist())

    def encoded(self, rows: NDArray[np.int64], member: str = "image") -> list[Pixels]:
        """Return the bytes of a member of these samples; empty if the sample lacks it or the file is cut short."""
        offsets, sizes = (column[rows] for column in self.index.ranges[member])
        shards, shard_of = np.unique(self.index.shard[rows], return_inverse=True)
        maps = [self.files.data(shard) for shard in shards.tolist()]
        ends = offsets + sizes
        complete = ends <= np.array([len(data) for data in maps])[shard_of]
        ends[~complete] = offsets[~complete] = 0
        slices = zip(shard_of.tolist(), offsets.tolist(), ends.tolist(), strict=True)
        return [maps[number][offset:end] for number, offset, end in slices]

    def values(self, rows: NDArray[np.int64], name: str) -> list[Any]:
        """Return a field of these samples; None for a sample without it."""
        if name not in self.fields:
            return [None] * len(rows)
        if name == "txt":
            return [bytes(data).decode(errors="replace") if len(data) else None for data in self.encoded(rows, "txt")]
        return [parse_metadata(bytes(data)).get(name) for data in self.encoded(rows, "json")]

    def locate(self, row: int) -> str:
        """Return where a sample is, for messages."""
        offset = int(self.index.ranges["image"][0][row])
        return f"{self.index.tars[self.index.shard[row]].url}, sample {self.index.key(row)!r} at byte {offset}"

    def replacement(self, row: int, reason: str) -> int:
        """Return the next readable sample of a damaged one's class. Raises ShardError for none, or on_error="raise"."""
        end = sum(int(column[row]) for column in self.index.ranges["image"])
        missing = end - len(self.files.data(int(self.index.shard[row])))
        problem = f"{self.locate(row)}: " + (f"the file ends {missing} bytes early" if missing > 0 else reason)
        if self.on_error == "raise":
            raise ShardError(f"{problem}; run verify, or open the stream with on_error='skip'")
        self.skipped[self.index.key(row)] = problem
        if row not in self._replacements:
            rows = self.rows
            similar = rows[(self.label[rows] == self.label[row]) & (self.synthetic[rows] == self.synthetic[row])]
            after = int(np.searchsorted(similar, row))
            others = (int(other) for other in (*similar[after + 1 :], *similar[:after]) if self._decodes(other))
            replacement = next(others, None)
            if replacement is None:
                raise ShardError(f"{problem}; no other sample of its class can replace it")
            self._replacements[row] = replacement
        return self._replacements[row]

    def _decodes(self, row: int) -> bool:
        try:
            decode_rgb(self.encoded(np.array([row]))[0])
        except CorruptImage:
            return False
        return True
