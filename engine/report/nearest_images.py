"""Synthetic images beside the real ones that they are most like, which makes copies visible."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.splits import SPLITS
from engine.evaluation.measure_result import MeasureResult, PixelMatch
from engine.evaluation.neighbours import match_pixels, thumbnails
from engine.report.even_choice import choose_evenly
from engine.report.sample_refs import (
    LARGE,
    SampleRef,
    Thumbnail,
    find_samples,
    make_thumbnail,
    read_sample_table,
    sample_refs,
)
from engine.run.run import Run
from shards.storage.manifest import finished_shards
from shards.storage.store import Store

_SHOWN_PAIRS = 18
_READ_SHARDS = 8
_SYNTHETIC, _REAL = 500, 1500
_LEARNED_SPLITS = ("world", "train")
"""Splits that a generator or its prompts may have learned from."""


@dataclass(frozen=True)
class NearestPair:
    """A synthetic image beside the real one that is most like it by pixels, and by features if that is known."""

    match: PixelMatch
    synthetic: Thumbnail
    real: Thumbnail
    by_features: Thumbnail | None


@dataclass(frozen=True)
class NearestImages:
    """Pairs, the closest first, and numbers of images. sampled: None if `measure` compared all that it encoded."""

    pairs: Sequence[NearestPair]
    sampled: int | None
    real_images: int
    copies: int


def nearest_images(run: Run, measured: MeasureResult | None) -> NearestImages | None:
    """Return the closest pairs as measured, or of a sample of images; None if there are none. Raises ShardError."""
    if measured is not None:
        # An image in both lists keeps its entry with feature neighbours.
        matches = {match.key: match for match in (*measured.copies.listed, *measured.closest)}
        closest = sorted(matches.values(), key=lambda match: (match.distance_ratio, match.key))[:_SHOWN_PAIRS]
        pairs = _pairs(run, closest)
        return NearestImages(pairs, None, measured.copies.real_images, measured.copies.count) if pairs else None
    if run.store.local is None:
        return None  # reading some thousand images one by one from an object store takes too long
    synthetic = _sample([run.shards], _SYNTHETIC)
    real = _sample([run.store / "real" / split for split in _LEARNED_SPLITS], _REAL)
    if not synthetic or not real:
        return None
    compared = _compare(run.context.plan.classes, synthetic, real)
    pairs = _pairs(run, compared[:_SHOWN_PAIRS])
    copies = sum(match.is_copy for match in compared)
    return NearestImages(pairs, len(synthetic), len(real), copies) if pairs else None


def _pairs(run: Run, matches: Sequence[PixelMatch]) -> list[NearestPair]:
    """Return the pairs whose images both still exist."""
    keys = {match.key for match in matches}
    shards = [shard for shard in finished_shards(run.shards) if any(key.startswith(shard) for key in keys)]
    synthetic = find_samples(run.shards, keys, shards)
    real_keys = {match.real for match in matches}
    real_keys |= {neighbour.real for match in matches for neighbour in match.feature_neighbours[:1]}
    real: dict[str, SampleRef] = {}
    for split in SPLITS:
        folder = run.store / "real" / split
        real |= find_samples(folder, {key for key in real_keys if key.startswith(split)}, finished_shards(folder))
    return [
        NearestPair(
            match,
            make_thumbnail(synthetic[match.key], LARGE),
            make_thumbnail(real[match.real], LARGE),
            _feature_neighbour(match, real),
        )
        for match in matches
        if match.key in synthetic and match.real in real
    ]


def _feature_neighbour(match: PixelMatch, real: Mapping[str, SampleRef]) -> Thumbnail | None:
    for neighbour in match.feature_neighbours[:1]:
        if neighbour.real in real:
            return make_thumbnail(real[neighbour.real], LARGE)
    return None


def _sample(folders: Iterable[Store], count: int) -> list[SampleRef]:
    """Return at most `count` samples, evenly chosen from a few shards of each folder."""
    return choose_evenly([sample for folder in folders for sample in _sample_folder(folder, count)], count)


def _sample_folder(folder: Store, count: int) -> Iterator[SampleRef]:
    for shard in choose_evenly(finished_shards(folder), _READ_SHARDS):
        table = read_sample_table(folder, shard)
        yield from sample_refs(folder, shard, table.take(choose_evenly(range(table.num_rows), count)))


def _compare(classes: Sequence[str], synthetic: Sequence[SampleRef], real: Sequence[SampleRef]) -> list[PixelMatch]:
    """Return the match of each synthetic image, the closest first."""
    matches = match_pixels(_small_images(synthetic), _small_images(real))
    keys = [sample.row["key"] for sample in real]
    return [
        matches.match(row, synthetic[row].row["key"], classes[synthetic[row].row["label"]], keys)
        for row in matches.by_distance(np.arange(len(synthetic)))
    ]


def _small_images(samples: Sequence[SampleRef]) -> NDArray[np.float32]:
    # One image at a time is in memory, because images may be large.
    return np.concatenate([thumbnails([sample.pixels()]) for sample in samples])
