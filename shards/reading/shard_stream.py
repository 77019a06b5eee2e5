"""Streams of samples, epoch after epoch."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.errors import NotReal, ShardError
from shards.reading.batch import Batch, BatchPart, Item, gather
from shards.reading.class_map import ClassMap, map_labels
from shards.reading.decoder import Decoder, available_cores
from shards.reading.epoch_order import EpochOrder, EpochSamples
from shards.reading.members import Members
from shards.reading.sample_reader import MappedShards, OnError, SampleReader
from shards.reading.selection import select_rows
from shards.reading.shard_index import ShardIndex, open_index
from shards.storage.shard_cache import ShardCache

_REMOTE_WINDOW = 16


class ShardStream:
    """The samples of shards, as an endless sequence, epoch after epoch.

    shards:     a folder, a tar, a pattern with `{00000..00099}`, `*` or `?`, a URL of any of these (s3://, gs://, hf://,
                https://), or a list of such. Ours, or any WebDataset.
    seed, shuffle: the order of epoch e follows from (seed, e); without shuffle it is the order on disk.
    window:     number of shards to shuffle together (see EpochOrder). Default: all, if every shard is a local file;
                else 16, so that each shard is downloaded once per epoch, ahead of need, and may then be evicted.
    real_only:  raise NotReal if any sample is synthetic. Validation and test streams are opened so.
    synthetic:  the value for samples whose shards do not say, such as those of other tools.
    threads:    decoding threads; default: one per core.
    size:       (height, width), or one number for both: images are scaled to cover it and cropped around the centre.
    members:    names of members, for shards of other tools. mask: also read masks.
    fields:     names of `.json` fields to read, or `txt`.
    classes, class_map: class names in label order, and other names for classes (see ClassMap).
    select:     keys to take, or a parquet file of keys and optional weights (see `select_rows`).
    cache:      the disk cache of remote shards.
    on_error:   "raise", or "skip": a sample that is cut short or cannot be decoded is replaced by the next one of its
                class, so that batches keep their size, and recorded in `skipped`.
    check_hashes: compare every shard and its index with the SHA-256 in its stats file before it is used.

    `rows` are the stream's samples as rows of the `index`, ascending; `skipped` has reasons by key.
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
        class_map: ClassMap | None = None,
        select: str | Path | Iterable[str] | None = None,
        cache: ShardCache | None = None,
        on_error: OnError = "raise",
        check_hashes: bool = False,
    ) -> None:
        if isinstance(fields, str) or on_error not in ("raise", "skip"):
            raise ValueError(f"fields={fields!r} must be a list, and on_error={on_error!r} raise or skip")
        extra = [*(["mask"] if mask else []), *({"txt" if name == "txt" else "json" for name in fields})]
        cache = cache or ShardCache()
        self.index = open_index(shards, members=members, extra=extra, cache=cache, check_hashes=check_hashes)
        self.label, self.classes, rows = map_labels(self.index, classes, class_map or {})
        rows, weight = (rows, None) if select is None else _select(self.index, rows, select)
        if not len(rows):
            raise ShardError(f"{shards}: no sample is left of {len(self.index)}")
        self.synthetic = _synthetic_flags(self.index, rows, synthetic, real_only)
        if window is None and any(tar.local is None for tar in self.index.tars):
            window = _REMOTE_WINDOW
        self.rows = rows
        self._samples = EpochSamples(rows, self.index.shard[rows], len(self.index.tars), weight)
        self._seed, self._shuffle, self._window = seed, shuffle, window
        self._order = EpochOrder(self._samples, seed, shuffle, window)
        self._files = MappedShards(self.index.tars, cache, check_hashes, window)
        self.reader = SampleReader(
            self.index, self._files, self.label, self.synthetic, rows, tuple(fields), has_masks=mask, on_error=on_error
        )
        self.skipped = self.reader.skipped
        self.decoder = Decoder(threads or available_cores(), (size, size) if isinstance(size, int) else size)

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return len(self._order)

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Decode the samples at these positions of the endless sequence. Raises ShardError for a damaged sample.

        All must have one size, unless the stream has a `size`.
        """
        rows = self.rows_at(positions)
        return gather([BatchPart(self.reader, rows, np.arange(len(rows)), 0)], self.decoder)

    def batches(self, size: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield this rank's part of each global batch of `size` samples of the first epoch.

        Every rank yields the same number of batches. The last one may have fewer samples, or none.
        """
        for start in range(0, len(self), size):
            positions = range(start + rank, min(start + size, len(self)), world_size)
            yield self.read(positions) if len(positions) else self.read([start])[:0]

    def __iter__(self) -> Iterator[Item]:
        """Yield the samples of the first epoch one by one, each of its own size."""
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> Item:
        """Return the sample at a position of the endless sequence."""
        batch = self.read([position])
        mask, fields = None if batch.mask is None else batch.mask[0], {name: v[0] for name, v in batch.fields.items()}
        return Item(batch.image[0], int(batch.label[0]), bool(batch.synthetic[0]), batch.key[0], mask, fields)

    def rows_at(
        self, positions: Sequence[int] | NDArray[np.int64], order: EpochOrder | None = None
    ) -> NDArray[np.int64]:
        """Return the index rows at these ascending positions, of one class or all (None); prefetch their shards."""
        order = order or self._order
        self._files.prefetch(order, int(positions[-1]))
        return order.at(positions)

    def class_order(self, label: int) -> EpochOrder:
        """Return the order of the samples of one class."""
        samples = self._samples
        of_class = self.label[samples.rows] == label
        weight = None if samples.weight is None else samples.weight[of_class]
        chosen = EpochSamples(samples.rows[of_class], samples.shard[of_class], samples.shards, weight)
        return EpochOrder(chosen, self._seed, self._shuffle, self._window)

    def fingerprint(self) -> str:
        """Return a hash of all that determines the order: names and sizes of shards, selection, labels, seed."""
        files = [(tar.name, tar.size) for tar in self.index.tars]
        digest = hashlib.sha256(repr((files, self._seed, self._shuffle, self._window)).encode())
        for array in (self._samples.rows, self._samples.weight, self.label[self._samples.rows]):
            digest.update(b"" if array is None else array.tobytes())
        return digest.hexdigest()


def _select(
    index: ShardIndex, rows: NDArray[np.int64], select: str | Path | Iterable[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the selected ones of `rows`, and their weights."""
    selected, weight = select_rows(index.keys, select)
    kept = np.isin(selected, rows) & (weight is None or weight > 0)  # weight 0: it must not replace a damaged sample
    return selected[kept], None if weight is None else weight[kept]


def _synthetic_flags(
    index: ShardIndex, rows: NDArray[np.int64], default: bool | None, real_only: bool
) -> NDArray[np.bool_]:
    """Return for every row of the index whether it is synthetic. `rows` are those that must say so, or be real."""
    unknown = rows[~index.synthetic_known[rows]]
    if len(unknown) and default is None:
        raise ShardError(
            f"{index.tars[index.shard[unknown[0]]].url}: does not say whether sample {index.key(unknown[0])!r} is "
            "real: open it with synthetic=False or synthetic=True"
        )
    synthetic = np.where(index.synthetic_known, index.synthetic, bool(default))
    synthetic_rows = rows[synthetic[rows]]
    if real_only and len(synthetic_rows):
        raise NotReal(
            f"{index.tars[index.shard[synthetic_rows[0]]].url}: sample {index.key(synthetic_rows[0])!r} is synthetic, "
            "and this stream was opened as real only; validation and test must be real"
        )
    return synthetic
