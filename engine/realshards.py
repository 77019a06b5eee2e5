"""The real images of a split as shards of the same form as the synthetic ones, so that one stream reads both."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from engine.sources import SPLITS, RealImage, Splits
from engine.spec.output import ImageSpec
from shards.card import Card, write_card
from shards.codec import encode_rgb, fit_rgb
from shards.finished import Place, finish, finished
from shards.sample import Sample, Scalar
from shards.stats import Stats
from shards.store import open_store
from shards.writer import ShardWriter

_PER_SHARD = 1000


def write_real_shards(splits: Splits, real: Place, image: ImageSpec, shape: tuple[int, int]) -> None:
    """Write `real/<split>/` for every split, in the size (height, width) and format of the synthetic images: neither
    may tell a classifier which is which. What is finished already is left. Raises DataError for a corrupt image."""
    for split in SPLITS:
        store, images = open_store(real) / split, splits[split]
        done = set(finished(store))
        for start in range(0, len(images), _PER_SHARD):
            name = f"{start // _PER_SHARD:05d}"
            if name not in done:
                write_shard(store, name, _samples(images[start : start + _PER_SHARD], split, start, image, shape))
        if images:
            text = f"Real images: the {split} split of a run. Written by Shardmill."
            write_card(store, Card(split, text, "other", ("real", "webdataset"), splits.classes))
        store.sweep()


def _samples(
    images: Sequence[RealImage], split: str, start: int, form: ImageSpec, shape: tuple[int, int]
) -> Iterator[Sample]:
    for number, image in enumerate(images, start):
        key = f"{split}{number:07d}"
        meta: dict[str, Scalar] = {
            "key": key,
            "label": image.label,
            "class_name": image.class_name,
            "synthetic": False,
            "generation": 0,
            "prompt": "",
            "split": split,
            "origin": image.origin,
            "digest": image.digest,
        }
        data = encode_rgb(fit_rgb(image.pixels(), *shape), form.format, form.quality)
        yield Sample(key, data, form.format, image.label, meta)


def write_shard(
    place: Place, name: str, samples: Iterable[Sample], failures: Sequence[Stats] = (), facts: Stats | None = None
) -> None:
    """Publish one shard of samples that are no unit of a run: tar, index and stats.

    failures: images that were to be in it, as in `shards.stats`. facts: more for its stats file.
    """
    kept: Counter[str] = Counter()
    failed = Counter(str(one["class_name"]) for one in failures)
    with ShardWriter(place, name) as writer:
        for sample in samples:
            writer.add(sample)
            kept[str(sample.meta["class_name"])] += 1
        files = writer.publish()
    stats: Stats = {
        "unit": int(name),
        "count": sum(kept.values()),
        "planned": dict(kept + failed),
        "kept": dict(kept),
        "failed": dict(failed),
        "rejected": {},
        "failures": list(failures),
        "files": [file.as_json() for file in files],
        "plan_digest": "",
    }
    finish(open_store(place), name, stats | (facts or {}))
