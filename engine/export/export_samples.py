"""Writing samples out of shards in another form."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from engine.export.coco import write_coco
from engine.export.export_splits import ExportSplit
from engine.export.header import Header
from engine.export.image_folder import write_imagefolder
from engine.export.output_folder import new_folder
from engine.export.parquet_files import write_parquet
from engine.export.shard_reader import unified_schema, read_samples
from shards.errors import ShardError
from shards.sample import Sample
from shards.stats import Stats
from shards.storage.manifest import read_stats

Write = Callable[[Path, Iterable[Sample], Header], None]


@dataclass(frozen=True)
class Form:
    """A form to export to.

    write:   fills an empty folder.
    pattern: its data files, for the card that hub clients read; None where they cannot read it.
    """

    write: Write
    pattern: str | None


FORMS = {
    "imagefolder": Form(write_imagefolder, "**"),
    "parquet": Form(write_parquet, "*.parquet"),
    "coco": Form(write_coco, None),
}


def export(parts: Sequence[ExportSplit], classes: tuple[str, ...], form: Form, out: Path) -> None:
    """Write each part in a folder of its name, one without a name in `out` itself, and a card where one may be.

    Equal shards give equal files. Raises OutputError, ShardError, and what the form raises.
    """
    tars = sorted({tar for part in parts for tar, _ in part.rows})
    header = Header(classes, unified_schema(tars))
    stats = [read_stats(tar.parent, tar.stem) for tar in tars]
    with new_folder(out, sum(file["size"] for one in stats for file in one["files"])) as folder:
        for part in parts:
            (folder / part.name).mkdir(exist_ok=True)
            samples = track(_samples(part, classes), part.name or "images", len(part))
            form.write(folder / part.name, samples, header)
        if not list(folder.glob("*.parquet")):  # pandas takes every file beside them for another one
            (folder / "README.md").write_text(_card(parts, form, stats), encoding="utf-8")


def _samples(part: ExportSplit, classes: tuple[str, ...]) -> Iterator[Sample]:
    for tar, rows in part.rows:
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


def _card(parts: Sequence[ExportSplit], form: Form, stats: Sequence[Stats]) -> str:
    """For the hub, which otherwise takes a class called `train` for a split."""
    licenses = {str(one.get("license", "other")) for one in stats}
    synthetic = any(part.synthetic for part in parts)
    configs = "".join(
        f"  - split: {part.name or 'train'}\n    path: {json.dumps(f'{part.name}/{form.pattern}'.lstrip('/'))}\n"
        for part in parts
        if form.pattern is not None
    )
    return _CARD.format(
        license=json.dumps(licenses.pop() if len(licenses) == 1 else "other"),
        tags="synthetic" if synthetic else "real",
        configs=f"configs:\n- config_name: default\n  data_files:\n{configs}" if configs else "",
        text="Synthetic images: validate on real ones." if synthetic else "Real images.",
        table="\n".join(
            f"| {part.name or 'all'} | {len(part):,} | {'with synthetic images' if part.synthetic else 'real'} |"
            for part in parts
        ),
    )
