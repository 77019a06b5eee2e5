"""The splits of an export, and which samples go into each."""

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
    """A split, as rows of the indexes of shards. name: "" if it is the whole export. synthetic: any sample is."""

    name: str
    rows: tuple[tuple[Path, NDArray[np.intp]], ...]
    synthetic: bool

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.rows)


def whole_split(source: ShardFolder) -> list[ExportSplit]:
    """Return all samples as one split without a name."""
    return [_make_split("", open_index(source.folder))]


def parse_shares(text: str) -> dict[str, float]:
    """Return `train=0.8,validation=0.2` as a mapping. Raises SpecError."""
    try:
        pairs = [(name, float(share)) for name, _, share in (pair.partition("=") for pair in text.split(","))]
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
    """Divide every class by the shares. Raises SpecError for a split without images."""
    index = open_index(source.folder)
    numbers = assign_shares(index.keys.to_pylist(), index.label, list(shares.values()))
    splits = [_make_split(name, index, numbers == number) for number, name in enumerate(shares)]
    for split in splits:
        if not len(split):
            raise SpecError(f"--splits: {split.name}={shares[split.name]:g} of {len(index)} images is none; raise it")
    return splits


def assign_shares(keys: Sequence[str], labels: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of the share of each sample, whatever the order of samples and their shards.

    The samples of a class are sorted by a hash of their keys, and divided by the largest remainder method.
    """
    hashes = np.fromiter((_hash(key) for key in keys), np.uint64, len(keys))
    order = np.lexsort((hashes, labels))
    numbers = np.empty(len(keys), np.int64)
    for of_class in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        numbers[of_class] = np.repeat(np.arange(len(shares)), apportion(len(of_class), shares))
    return numbers


def split_with_real(run: Path, source: ShardFolder) -> list[ExportSplit]:
    """Return train with the run's real and synthetic images, and validation and test with real images alone.

    Raises SpecError if the run has no real shards, NotReal if a sample in them is synthetic.
    """
    real = run / "real"
    if not finished_tars(real / "train"):
        raise SpecError(f"--with-real: {real / 'train'} holds no shards; `sweep` writes the real images of a run there")
    splits = []
    for name in ("train", "validation", "test"):
        if finished_tars(real / name):
            if open_shard_folder(real / name).classes != source.classes:
                raise SpecError(f"--with-real: the classes of {real / name} are not the run's; run `sweep` again")
            splits.append(_make_split(name, ShardStream(real / name, real_only=True).index))
    train, synthetic = splits[0], whole_split(source)[0]
    return [ExportSplit("train", train.rows + synthetic.rows, synthetic.synthetic), *splits[1:]]


def _make_split(name: str, index: ShardIndex, mask: NDArray[np.bool_] | None = None) -> ExportSplit:
    selected = np.ones(len(index), np.bool_) if mask is None else mask
    starts = np.searchsorted(index.shard, np.arange(1, len(index.tars)))
    tars = (Path(tar.url) for tar in index.tars)
    rows = zip(tars, map(np.flatnonzero, np.split(selected, starts)), strict=True)
    return ExportSplit(name, tuple(rows), bool(index.synthetic[selected].any()))


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"export").digest(), "big")
