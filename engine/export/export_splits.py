"""Which samples go into which split of an export."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.apportion import apportion
from engine.errors import SpecError
from engine.export.shard_reader import ShardFolder, open_shard_folder
from shards.reading.shard_index import ShardIndex, open_index
from shards.reading.shard_stream import ShardStream
from shards.storage.manifest import finished_tars


@dataclass(frozen=True)
class ExportSplit:
    """One split.

    name:      "" where everything is one.
    rows:      shards, and which rows of their indexes.
    synthetic: whether any sample is.
    """

    name: str
    rows: tuple[tuple[Path, NDArray[np.intp]], ...]
    synthetic: bool

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.rows)


def whole_split(source: ShardFolder) -> list[ExportSplit]:
    """Everything in one part without a name."""
    return [_part("", open_index(source.folder))]


def parse_shares(text: str) -> dict[str, float]:
    """`train=0.8,validation=0.2` as a mapping. Raises SpecError."""
    try:
        pairs = [(name, float(share)) for name, _, share in (one.partition("=") for one in text.split(","))]
    except ValueError:
        pairs = []
    shares = dict(pairs)
    named = len(shares) == len(pairs) and all(re.fullmatch(r"\w+", name, re.ASCII) for name in shares)
    if not named or not all(share > 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1):
        raise SpecError(
            f"--splits {text}: write it as train=0.8,validation=0.2, with different names of letters, digits and _, "
            "and shares above 0 that add up to 1"
        )
    return shares


def split_by_shares(source: ShardFolder, shares: Mapping[str, float]) -> list[ExportSplit]:
    """A part for each share, class by class. Raises SpecError for a part without images."""
    index = open_index(source.folder)
    share = assign_shares(index.keys.to_pylist(), index.label, list(shares.values()))
    parts = [_part(name, index, share == number) for number, name in enumerate(shares)]
    for part in parts:
        if not len(part):
            raise SpecError(f"--splits: {part.name}={shares[part.name]:g} of {len(index)} images is none; give it more")
    return parts


def assign_shares(keys: Sequence[str], labels: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """For each sample the number of its share: within each class the samples are ordered by a hash of their keys, and
    the order is cut by the largest remainder method. Neither the order nor the shard of a sample matters."""
    hashes = np.fromiter((_hash(key) for key in keys), np.uint64, len(keys))
    order = np.lexsort((hashes, labels))
    found = np.empty(len(keys), np.int64)
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        found[group] = np.repeat(np.arange(len(shares)), apportion(len(group), shares))
    return found


def split_with_real(run: Path, source: ShardFolder) -> list[ExportSplit]:
    """Train: the run's real train images and its synthetic ones. Validation and test: real alone.

    Raises SpecError where the run has no real shards, NotReal where one of them is synthetic.
    """
    real = run / "real"
    if not finished_tars(real / "train"):
        raise SpecError(f"--with-real: {real / 'train'} holds no shards; `sweep` writes the real images of a run there")
    parts = []
    for name in ("train", "validation", "test"):
        if finished_tars(real / name):
            if open_shard_folder(real / name).classes != source.classes:
                raise SpecError(f"--with-real: the classes of {real / name} are not the run's; run `sweep` again")
            parts.append(_part(name, ShardStream(real / name, real_only=True).index))
    train, made = parts[0], whole_split(source)[0]
    return [ExportSplit("train", train.rows + made.rows, made.synthetic), *parts[1:]]


def _part(name: str, index: ShardIndex, where: NDArray[np.bool_] | None = None) -> ExportSplit:
    chosen = np.ones(len(index), np.bool_) if where is None else where
    starts = np.searchsorted(index.shard, np.arange(1, len(index.tars)))
    tars = (Path(tar.url) for tar in index.tars)
    rows = zip(tars, map(np.flatnonzero, np.split(chosen, starts)), strict=True)
    return ExportSplit(name, tuple(rows), bool(index.synthetic[chosen].any()))


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"export").digest(), "big")
