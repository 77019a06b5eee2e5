"""Search for sample keys that occur more than once, in 8 bytes of memory per sample."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from shards.reading.members import Members
from shards.reading.tar_samples import read_tar_samples
from shards.reading.tar_scan import map_file
from shards.storage.locations import ShardFile


class KeyHashes:
    """Hashes of the keys of many shards."""

    def __init__(self) -> None:
        self._hashes, self._starts = array("q"), array("q")

    def start_shard(self) -> None:
        """Begin the next shard."""
        self._starts.append(len(self._hashes))

    def add(self, key: str) -> None:
        """Add a key of the current shard."""
        self._hashes.append(hash(key))

    def repeated(self) -> tuple[int, list[tuple[int, int]]]:
        """Return how many keys have the hash of an earlier key, and the pairs of shard numbers that share a hash.

        Equal hashes almost certainly mean equal keys; `shared_keys` tells for sure.
        """
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        repeated = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        starts = np.frombuffer(self._starts, np.int64)
        first, second = (np.searchsorted(starts, order[repeated + step], "right") - 1 for step in (0, 1))
        return len(repeated), sorted(set(zip(first.tolist(), second.tolist(), strict=True)))


def shared_keys(tars: Iterable[tuple[ShardFile, Path]], roles: Members) -> Iterator[tuple[str, str, str]]:
    """Yield each key that is in two of these shards, and the URLs of both. Each shard comes with its local path."""
    shard_of_key: dict[str, str] = {}
    for tar, path in tars:
        with map_file(path, tar.url) as data:
            for sample in read_tar_samples(data, tar.url, roles):
                if sample.key in shard_of_key:
                    yield sample.key, shard_of_key[sample.key], tar.url
                shard_of_key[sample.key] = tar.url
