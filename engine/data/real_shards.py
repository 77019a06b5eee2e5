"""Real images as shards of the same form as the synthetic ones, so that one stream reads both."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from engine.config.output_spec import ImageSpec
from engine.data.splits import SPLITS, Splits
from shards.codec import encode_mask, encode_rgb, fit_mask, fit_rgb
from shards.sample import Sample, Scalar
from shards.stats import Stats
from shards.storage.manifest import finished_shards, publish_stats
from shards.storage.open_store import open_store
from shards.storage.store import StoreLike
from shards.writing.dataset_card import DatasetCard, write_card
from shards.writing.shard_writer import ShardWriter

_PER_SHARD = 1000


def write_real_shards(splits: Splits, real: StoreLike, image: ImageSpec, shape: tuple[int, int]) -> None:
    """Write `real/<split>/` for every split; finished shards stay as they are. shape: (height, width)."""
    # Size and format are those of the synthetic images: neither may tell a classifier which images are synthetic.
    for split in SPLITS:
        store, images = open_store(real) / split, splits[split]
        done, numbers = set(finished_shards(store)), range(len(images))
        for start in numbers[::_PER_SHARD]:
            name = f"{start // _PER_SHARD:05d}"
            if name not in done:
                write_shard(store, name, _samples(splits, split, numbers[start : start + _PER_SHARD], image, shape))
        if images:
            text = f"Real images: the {split} split of a run. Written by Shardmill."
            write_card(store, DatasetCard(split, text, "other", ("real", "webdataset"), splits.classes))
        store.sweep()


def _samples(
    splits: Splits, split: str, numbers: Iterable[int], form: ImageSpec, shape: tuple[int, int]
) -> Iterator[Sample]:
    masked = {} if splits.palette is None else {"mask_classes": json.dumps(splits.palette, ensure_ascii=False)}
    for number in numbers:
        image, key = splits[split][number], f"{split}{number:07d}"
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
            **masked,
        }
        data = encode_rgb(fit_rgb(image.pixels(), *shape), form.format, form.quality)
        mask = None if image.read_mask is None else encode_mask(fit_mask(image.mask(), *shape))
        yield Sample(key, data, form.format, image.label, meta, mask)


def write_shard(
    place: StoreLike, name: str, samples: Iterable[Sample], failures: Sequence[Stats] = (), facts: Stats | None = None
) -> None:
    """Publish a shard that is no unit of a run. failures: missing images, see `shards.stats`. facts: more stats."""
    kept: Counter[str] = Counter()
    failed = Counter(str(failure["class_name"]) for failure in failures)
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
    publish_stats(open_store(place), name, stats | (facts or {}))
