"""The writing of samples from shards in an export format."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import track

from engine.export.export_format import ExportSchema, ExportWriter
from engine.export.export_splits import ExportSplit
from engine.export.output_folder import new_folder
from engine.export.shard_reader import read_samples, unified_schema
from shards.errors import ShardError
from shards.sample import Sample
from shards.stats import Stats
from shards.storage.manifest import read_stats


def export_samples(splits: Sequence[ExportSplit], classes: tuple[str, ...], writer: ExportWriter, out: Path) -> None:
    """Write each split into a folder of its name, a split without a name into `out` itself, and a dataset card.

    Equal shards give equal files. Raises OutputError, ShardError, and what the writer raises.
    """
    tars = sorted({tar for split in splits for tar, _ in split.rows})
    schema = ExportSchema(classes, unified_schema(tars))
    stats = [read_stats(tar.parent, tar.stem) for tar in tars]
    with new_folder(out, sum(file["size"] for shard in stats for file in shard["files"])) as folder:
        for split in splits:
            (folder / split.name).mkdir(exist_ok=True)
            samples = track(_read_split(split, classes), split.name or "images", len(split))
            writer.write(folder / split.name, samples, schema)
        if not list(folder.glob("*.parquet")):  # pandas takes every file beside parquet files for another one
            (folder / "README.md").write_text(_card(splits, writer.data_files, stats), encoding="utf-8")


def _read_split(split: ExportSplit, classes: tuple[str, ...]) -> Iterator[Sample]:
    for tar, rows in split.rows:
        for sample in read_samples(tar, rows):
            if classes[sample.label : sample.label + 1] != (sample.meta["class_name"],):
                raise ShardError(f"{tar}: {sample.key}: label {sample.label} is not its class; run verify")
            yield sample


_CARD = """\
---
license: {license}
task_categories: [image-classification]
tags: [{tags}]
{configs}---

{text} Written by Shardmill.

| split | images | |
|---|---|---|
{table}
"""


def _card(splits: Sequence[ExportSplit], data_files: str | None, stats: Sequence[Stats]) -> str:
    licenses = {str(shard.get("license", "other")) for shard in stats}
    synthetic = any(split.synthetic for split in splits)
    # Without these paths, the hub takes a class called `train` for a split.
    configs = "".join(
        f"  - split: {split.name or 'train'}\n    path: {json.dumps(f'{split.name}/{data_files}'.lstrip('/'))}\n"
        for split in splits
        if data_files is not None
    )
    return _CARD.format(
        license=json.dumps(licenses.pop() if len(licenses) == 1 else "other"),
        tags="synthetic" if synthetic else "real",
        configs=f"configs:\n- config_name: default\n  data_files:\n{configs}" if configs else "",
        text="Synthetic images: validate on real ones." if synthetic else "Real images.",
        table="\n".join(
            f"| {split.name or 'all'} | {len(split):,} | {'with synthetic images' if split.synthetic else 'real'} |"
            for split in splits
        ),
    )
