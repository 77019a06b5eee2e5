"""A few synthetic and real images of each class, evenly chosen from the run.

The number of shard indexes and images that are read does not depend on the size of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from engine.report.even_choice import choose_evenly
from engine.report.run_totals import ClassCount, RunTotals, sum_stats
from engine.report.sample_refs import LARGE, SampleRef, Thumbnail, make_thumbnail, read_sample_table, sample_refs
from engine.run.run import Run
from shards.storage.open_store import open_store
from shards.storage.store import StoreLike

_SYNTHETIC, _REAL = 12, 4

_SamplesByStrategy = dict[str, list[SampleRef]]


@dataclass(frozen=True)
class ClassImages:
    """Some images of one class."""

    count: ClassCount
    synthetic: Sequence[Thumbnail]
    real: Sequence[Thumbnail]


def class_images(run: Run, totals: RunTotals, counts: Mapping[int, ClassCount]) -> list[ClassImages]:
    """Return the images of these classes by label, without classes that have none. Raises ShardError."""
    train = run.store / "real" / "train"
    real_totals = sum_stats(train, totals.shards_by_class)
    synthetic, real = (
        read_thumbnails(folder, {label: of.shards_by_class[counts[label].name] for label in counts}, most)
        for folder, of, most in ((run.shards, totals, _SYNTHETIC), (train, real_totals, _REAL))
    )
    classes = [ClassImages(count, synthetic[label], real[label]) for label, count in counts.items()]
    return [images for images in classes if images.synthetic or images.real]


def read_thumbnails(
    place: StoreLike, shards_by_label: Mapping[int, Sequence[str]], count: int
) -> dict[int, list[Thumbnail]]:
    """Return at most `count` thumbnails of each label, equally many of each prompt strategy, sorted by strategy.

    At most `count` shards of each label are read. Raises ShardError.
    """
    chosen = {label: choose_evenly(shards, count) for label, shards in shards_by_label.items()}
    store = open_store(place)
    samples: dict[int, _SamplesByStrategy] = {label: {} for label in chosen}
    for shard in sorted({shard for shards in chosen.values() for shard in shards}):
        table = read_sample_table(store, shard)
        for label, shards in chosen.items():
            if shard in shards:
                for strategy, rows in _rows_by_strategy(table, label).items():
                    refs = sample_refs(store, shard, table.take(choose_evenly(rows, count)))
                    samples[label].setdefault(strategy, []).extend(refs)
    return {
        label: [make_thumbnail(sample, LARGE) for sample in _balanced(of_label, count)]
        for label, of_label in samples.items()
    }


def _rows_by_strategy(table: pa.Table, label: int) -> dict[str, list[int]]:
    """Return the rows of a label by prompt strategy, sorted by name; real images have the strategy ""."""
    rows = np.flatnonzero(table["label"].to_numpy() == label)
    if "strategy" not in table.column_names:
        return {"": rows.tolist()}
    strategy = np.asarray(table["strategy"].take(rows).to_pylist())
    return {str(name): rows[strategy == name].tolist() for name in np.unique(strategy)}


def _balanced(samples: _SamplesByStrategy, count: int) -> list[SampleRef]:
    """Return equally many samples of each strategy; of more than `count` strategies, one of each of `count`."""
    strategies = choose_evenly(sorted(samples), count)
    return [sample for strategy in strategies for sample in choose_evenly(samples[strategy], count // len(strategies))]
