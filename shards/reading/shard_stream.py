"""Reading samples: by their number in the index, and as a stream of epochs."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shards.codec import CorruptImage, Pixels, decode_rgb
from shards.errors import NotReal, ShardError
from shards.reading.batch import Batch, BatchPart, Item, gather
from shards.reading.class_map import map_labels
from shards.reading.decoder import Decoder, available_cores
from shards.reading.epoch_order import EpochOrder, EpochSamples
from shards.reading.selection import select_rows as select_rows
from shards.reading.mapped_shards import MappedShards
from shards.reading.shard_index import open_index
from shards.reading.members import Members
from shards.reading.sample_metadata import parse_metadata
from shards.storage.shard_cache import ShardCache

_WINDOW = 16


class ShardStream:
    """The samples of shards, as an endless sequence, epoch after epoch.

    shards:     a folder, a tar, a pattern with `{00000..00099}`, `*` or `?`, a URL of any of these (s3://, gs://, hf://,
                https://), or a list of such. Ours, or any WebDataset.
    seed, shuffle: the order of epoch e follows from (seed, e); without shuffle it is the order on disk.
    window:     shuffle among so many shards at a time (see EpochOrder). Default: all, where every shard is a local
                file; else 16, so that a shard is downloaded once an epoch, ahead of need, and then let go.
    real_only:  raise NotReal if any sample is synthetic. A validation or test stream is opened so.
    synthetic:  what samples are whose shards do not say, as those of other tools do not.
    threads:    that decode; default: one a core.
    size:       (height, width), or both as one number: images are scaled to cover it and cut to it around the centre.
    members:    names of members in shards that others wrote. mask: also read masks.
    fields:     names of `.json` fields to read, or `txt`.
    classes, class_map: class names in the order that labels are to have, and other names for classes (see ClassMap).
    select:     keys to take, or a parquet file of keys and perhaps weights (see `shards.reading.selection`).
    cache:      where remote shards are kept on this disk, and how many.
    on_error:   "raise", or "skip": a sample that is cut short or cannot be decoded is replaced by the next one of its
                class, so that batches stay whole, and counted in `skipped`.
    check_hashes: compare every shard and its index with the SHA-256 in its stats file before anything of it is used.
    """

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        *,
        seed: int = 0,
        shuffle: bool = True,
        window: int | None = None,
        real_only: bool = False,
        synthetic: bool | None = None,
        threads: int | None = None,
        size: int | tuple[int, int] | None = None,
        members: Members | None = None,
        mask: bool = False,
        fields: Sequence[str] = (),
        classes: Sequence[str] | None = None,
        class_map: Mapping[str | int, str | None] | None = None,
        select: str | Path | Iterable[str] | None = None,
        cache: ShardCache | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        check_hashes: bool = False,
    ) -> None:
        if isinstance(fields, str) or on_error not in ("raise", "skip"):
            raise ValueError(f"fields={fields!r} must be a list, and on_error={on_error!r} raise or skip")
        self.fields, self.masked = tuple(fields), mask
        also = [*(["mask"] if mask else []), *({"txt" if name == "txt" else "json" for name in fields})]
        cache = cache or ShardCache()
        self.index = open_index(shards, members=members, also=also, cache=cache, check_hashes=check_hashes)
        self.label, self.classes, rows = map_labels(self.index, classes, class_map or {})
        weight = None
        if select is not None:
            chosen, weight = select_rows(self.index.keys, select)
            kept = np.isin(chosen, rows)
            kept &= True if weight is None else weight > 0  # or one of these could stand for a damaged sample
            rows, weight = chosen[kept], None if weight is None else weight[kept]
        if not len(rows):
            raise ShardError(f"{shards}: no sample is left of {len(self.index)}")
        self.synthetic = self._said(rows, synthetic, real_only)
        self._samples = EpochSamples(rows, self.index.shard[rows], len(self.index.tars), weight)
        if window is None and any(tar.local is None for tar in self.index.tars):
            window = _WINDOW
        self._window = window
        self._files = MappedShards(self.index.tars, cache, check_hashes, window)
        self._seed, self._shuffle = seed, shuffle
        self._order = EpochOrder(self._samples, seed, shuffle, window)
        self.decoder = Decoder(threads or available_cores(), (size, size) if isinstance(size, int) else size)
        self._on_error = on_error
        self.skipped: dict[str, str] = {}
        """Key of each sample that was skipped, and why."""
        self._replaced: dict[int, int] = {}

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self._order)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Numbers in the index of the samples that the stream takes, ascending."""
        return self._samples.rows

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Decode the samples at these positions of the endless sequence; all have one size, or the stream has a `size`.

        Raises ShardError, with file and offset, for a sample that is cut short or cannot be decoded.
        """
        rows = self.order(positions)
        return gather([BatchPart(self, rows, np.arange(len(rows)), 0)], self.decoder)

    def batches(self, size: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """One epoch, the first one, in global batches of `size`, the last one smaller; of each, this rank's share.

        Every rank has the same number of batches. Of a last batch of fewer samples than ranks some have none of.
        """
        for start in range(0, len(self), size):
            places = range(start + rank, min(start + size, len(self)), world_size)
            if len(places):
                yield self.read(places)
            else:
                yield self.read([start])[:0]

    def __iter__(self) -> Iterator[Item]:
        """The samples of the first epoch one by one, each of its own size."""
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> Item:
        """The sample at a position of the endless sequence."""
        batch = self.read([position])
        return Item(
            batch.image[0],
            int(batch.label[0]),
            bool(batch.synthetic[0]),
            batch.key[0],
            None if batch.mask is None else batch.mask[0],
            {name: values[0] for name, values in batch.fields.items()},
        )

    def order(self, positions: Sequence[int] | NDArray[np.int64], of: EpochOrder | None = None) -> NDArray[np.int64]:
        """Numbers in the index of the samples at these ascending positions of the endless sequence of epochs.

        of: the order of one class; default: of the whole stream. Their shards are fetched ahead of need.
        """
        order = of or self._order
        self._files.fetch_ahead(order, int(positions[-1]))
        return order.at(positions)

    def class_order(self, label: int) -> EpochOrder:
        """The order of one class alone."""
        where = self.label[self._samples.rows] == label
        weight = None if self._samples.weight is None else self._samples.weight[where]
        samples = self._samples
        chosen = EpochSamples(samples.rows[where], samples.shard[where], samples.shards, weight)
        return EpochOrder(chosen, self._seed, self._shuffle, self._window)

    def fingerprint(self) -> str:
        """Of all that the order of samples follows from: names and sizes of shards, what is taken of them, the seed."""
        facts = [(tar.name, tar.size) for tar in self.index.tars], self._seed, self._shuffle, self._window
        digest = hashlib.sha256(repr(facts).encode())
        for array in (self._samples.rows, self._samples.weight, self.label[self._samples.rows]):
            digest.update(b"" if array is None else array.tobytes())
        return digest.hexdigest()

    def encoded(self, rows: NDArray[np.int64], member: str = "image") -> list[Pixels]:
        """The bytes of a member of these samples; none of one that its sample lacks, or that the file has not whole."""
        offsets, sizes = (fact[rows] for fact in self.index.places[member])
        shards, which = np.unique(self.index.shard[rows], return_inverse=True)
        maps = [self._files.data(shard) for shard in shards.tolist()]
        ends = offsets + sizes
        whole = ends <= np.array([len(data) for data in maps])[which]
        ends[~whole] = offsets[~whole] = 0
        found = zip(which.tolist(), offsets.tolist(), ends.tolist(), strict=True)
        return [maps[number][offset:end] for number, offset, end in found]

    def values(self, rows: NDArray[np.int64], name: str) -> list[Any]:
        """A field of these samples; None where one has no such field."""
        if name not in self.fields:
            return [None] * len(rows)
        if name == "txt":
            return [bytes(data).decode(errors="replace") if len(data) else None for data in self.encoded(rows, "txt")]
        return [parse_metadata(bytes(data)).get(name) for data in self.encoded(rows, "json")]

    def place(self, row: int) -> str:
        """Where a sample is, for messages."""
        offset = int(self.index.places["image"][0][row])
        return f"{self.index.tars[self.index.shard[row]].url}, sample {self.index.key(row)!r} at byte {offset}"

    def replacement(self, row: int, reason: str) -> int:
        """The sample that stands for one that cannot be had. Raises ShardError, unless the stream skips such."""
        end = sum(int(fact[row]) for fact in self.index.places["image"])
        missing = end - len(self._files.data(int(self.index.shard[row])))
        told = f"{self.place(row)}: " + (f"the file ends {missing} bytes early" if missing > 0 else reason)
        if self._on_error == "raise":
            raise ShardError(f"{told}; run verify, or open the stream with on_error='skip'")
        self.skipped[self.index.key(row)] = told
        if row not in self._replaced:
            rows = self._samples.rows
            same = rows[(self.label[rows] == self.label[row]) & (self.synthetic[rows] == self.synthetic[row])]
            after = int(np.searchsorted(same, row))
            others = (int(other) for other in (*same[after + 1 :], *same[:after]) if self._decodes(other))
            found = next(others, None)
            if found is None:
                raise ShardError(f"{told}; and no other sample of its class can stand for it")
            self._replaced[row] = found
        return self._replaced[row]

    def _decodes(self, row: int) -> bool:
        try:
            decode_rgb(self.encoded(np.array([row]))[0])
        except CorruptImage:
            return False
        return True

    def _said(self, rows: NDArray[np.int64], unsaid: bool | None, real_only: bool) -> NDArray[np.bool_]:
        index = self.index
        silent = rows[~index.known[rows]]
        if len(silent) and unsaid is None:
            raise ShardError(
                f"{index.tars[index.shard[silent[0]]].url}: does not say whether sample {index.key(silent[0])!r} is "
                "real: open it with synthetic=False or synthetic=True"
            )
        synthetic = np.where(index.known, index.synthetic, bool(unsaid))
        found = rows[synthetic[rows]]
        if real_only and len(found):
            raise NotReal(
                f"{index.tars[index.shard[found[0]]].url}: sample {index.key(found[0])!r} is synthetic, and this "
                "stream was opened as real only; validation and test must be real"
            )
        return synthetic
