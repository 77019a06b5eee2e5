"""The dataset card: files at the root of a folder of shards that other tools read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

from shards.stats import total_by_class
from shards.storage.manifest import read_all_stats
from shards.storage.open_store import open_store
from shards.storage.store import StoreLike

# The card names the tars as data files: without it a hub client loads the parquet files alone, and no images.
_README = Template("""\
---
pretty_name: $title
license: $license
task_categories: [image-classification]
tags: [$tags]
configs:
- config_name: default
  data_files:
  - split: train
    path: "*.tar"
---

# $title

$description

$count images in $shards shards, in WebDataset form. Each sample has an image, `.cls` (the class index), `.json` (its
metadata) and `.txt` (the prompt). `NNNNN.parquet` has a row per sample, with the offset and size of every member in the
tar. `NNNNN_stats.json` has the shard's counts and SHA-256.

| index | class | images |
|---|---|---|
$table

```python
from shards import ShardStream                                  # shardmill: decoded batches
from datasets import load_dataset; load_dataset("PATH_OF_THIS_FOLDER", split="train")
from webdataset import WebDataset                               # WebDataset("00000.tar", shardshuffle=False)
```
""")


@dataclass(frozen=True)
class DatasetCard:
    """The facts on a dataset card. classes: names in label order."""

    title: str
    description: str
    license: str
    tags: Sequence[str]
    classes: Sequence[str]


def write_card(location: StoreLike, card: DatasetCard) -> None:
    """Write README.md (hub), `_info.json` (timm) and `sizes.json` (open_clip) for the finished shards of a folder."""
    store, stats = open_store(location), read_all_stats(location)
    lengths = {f"{shard}.tar": int(shard_stats["count"]) for shard, shard_stats in stats.items()}
    split = {
        "name": "train",
        "num_samples": sum(lengths.values()),
        "filenames": list(lengths),
        "shard_lengths": list(lengths.values()),
    }
    store.replace("sizes.json", f"{json.dumps(lengths, indent=1)}\n".encode())
    info = {"splits": {"train": split}, "classes": list(card.classes)}
    store.replace("_info.json", f"{json.dumps(info, indent=1, ensure_ascii=False)}\n".encode())
    kept = total_by_class(stats.values(), "kept")
    text = _README.substitute(
        title=json.dumps(card.title, ensure_ascii=False)[1:-1],
        license=json.dumps(card.license),
        tags=", ".join(card.tags),
        description=card.description,
        count=f"{sum(lengths.values()):,}",
        shards=len(lengths),
        table="\n".join(f"| {i} | {name} | {kept.get(name, 0):,} |" for i, name in enumerate(card.classes)),
    )
    store.replace("README.md", text.encode())
