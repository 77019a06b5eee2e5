"""Shards, or a mix of real and synthetic ones, as other clients see them: lists of tars with sample counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np

from shards.errors import ShardError
from shards.reading.class_map import check_same_classes
from shards.reading.shard_index import ShardIndex, open_index


@dataclass(frozen=True)
class ClientSource:
    """The shards of one source; `lengths` and `captioned` (samples with a `.txt`) are per shard."""

    urls: Sequence[str]
    lengths: Sequence[int]
    captioned: Sequence[int]
    empty_captions: int
    labelled: bool

    @property
    def samples(self) -> int:
        """Samples of all shards."""
        return sum(self.lengths)


@dataclass(frozen=True)
class ClientMix:
    """One source, or a real and a synthetic one, with the share of each among the samples that a trainer sees."""

    sources: Sequence[ClientSource]
    shares: Sequence[Fraction]

    @property
    def repeats(self) -> list[Fraction]:
        """Return how often each source is read in the shortest epoch that reads every sample; the least is 1."""
        frequencies = [share / source.samples for share, source in zip(self.shares, self.sources, strict=True)]
        return [frequency / min(frequencies) for frequency in frequencies]

    @property
    def epoch(self) -> int:
        """Samples in such an epoch."""
        return round(sum(count * source.samples for count, source in zip(self.repeats, self.sources, strict=True)))

    def shard_repeats(self) -> list[tuple[int, int]]:
        """Return the repeats rounded to whole shards: for each source how often all of its shards are read, and how
        many of its first shards are read once more."""
        pairs = []
        for source, repeats in zip(self.sources, self.repeats, strict=True):
            whole, rest = divmod(repeats, 1)
            distances = [abs(total - rest * source.samples) for total in (0, *accumulate(source.lengths))]
            pairs.append((int(whole), distances.index(min(distances))))
        return pairs


def open_client_mix(real: str, synthetic: str | None, alpha: float | None) -> ClientMix:
    """Return one source, or two of which the second has the share `alpha`. Raise ShardError."""
    if synthetic is None:
        if alpha is not None:
            raise ShardError(f"alpha {alpha} is the share of synthetic shards: name these shards too")
        return ClientMix([_source(open_index(real, extra=("txt",)))], [Fraction(1)])
    if alpha is None or not 0 < alpha < 1:
        raise ShardError(f"alpha {alpha}: the synthetic share must be between 0 and 1; for 0 or 1 name one source")
    indexes = [open_index(location, extra=("txt",)) for location in (real, synthetic)]
    check_same_classes(
        *({label: name for label, name in index.class_pairs()[0] if name is not None} for index in indexes)
    )
    share = Fraction(str(alpha))  # of the decimal text, so that 0.1 is a tenth
    return ClientMix([_source(index) for index in indexes], [1 - share, share])


def _source(index: ShardIndex) -> ClientSource:
    offset, size = index.ranges["txt"]
    lengths, captioned = (
        np.bincount(shard, minlength=len(index.tars)).tolist() for shard in (index.shard, index.shard[offset >= 0])
    )
    empty = int(((offset >= 0) & (size == 0)).sum())
    return ClientSource([tar.url for tar in index.tars], lengths, captioned, empty, bool((index.label >= 0).all()))
