"""Folders of shards for tests of tools: finished ones as the engine writes them, and those of another tool."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from shards import Sample, ShardCache, ShardWriter
from shards.codec import encode_rgb
from shards.storage.open_store import open_store
from shards.tools.reshard_plan import ReshardOptions, ReshardPlan, ReshardPlanner
from shards.writing.dataset_card import DatasetCard, write_card

CLASSES = ("cat", "sea lion", "größe")
Files = dict[str, bytes]


def make_sample(number: int, synthetic: bool = True, classes: Iterable[str] = CLASSES, **fields: Any) -> Sample:
    names = list(classes)
    key, label = f"{'s' if synthetic else 'r'}{number:05d}", number % len(names)
    meta = {
        "key": key,
        "label": label,
        "class_name": names[label],
        "synthetic": synthetic,
        "prompt": f'ein "{number}" größer',
    }
    image = encode_rgb(np.full((4, 6, 3), number % 251, np.uint8), "png")
    return Sample(key, image, "png", label, meta | fields)


def write_folder(
    folder: Path, samples: list[Sample], per_shard: int, classes: Iterable[str] = CLASSES, **facts: Any
) -> Path:
    """Write a finished folder, as the engine leaves it."""
    for start in range(0, len(samples), per_shard):
        part, name = samples[start : start + per_shard], f"{start // per_shard:05d}"
        with ShardWriter(folder, name) as writer:
            for sample in part:
                writer.add(sample)
            files = writer.publish()
        content = {"unit": 0, "count": len(part), "plan_digest": "", "files": [file.as_json() for file in files]}
        kept = {name: sum(sample.meta["class_name"] == name for sample in part) for name in classes}
        counts = {"planned": kept, "kept": kept, "failed": {}}
        open_store(folder).publish_json(f"{name}_stats.json", content | counts | facts)
    write_card(folder, DatasetCard("test", "Of a test.", "cc0-1.0", ("test",), list(classes)))
    return folder


def read_members(folder: Path) -> Files:
    members: Files = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name not in members
                members[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return members


def read_files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write_foreign(folder: Path) -> Files:
    """Write a tar of another tool: folders, upper case, nested and changing json, unknown members, no order."""
    folder.mkdir()
    files: Files = {}
    for i in range(6):
        key = f"train/Bild {i}"
        nested = {"exif": {"iso": 100}, "score": i if i % 2 else i / 2, "width": 6, "ok": None if i == 3 else True}
        image = encode_rgb(np.full((4, 6, 3), 10 * i, np.uint8), "jpg")
        files |= {f"{key}.JPEG": image, f"{key}.cls": b"%d\n" % (i % 3), f"{key}.json": json.dumps(nested).encode()}
        files |= {f"{key}.npy": b"array %d" % i, f"{key}.seg.png": b"map %d" % i, f"{key}.pyd": b"evil"}
    files |= {"train/alone.txt": b"no image", "größe/" + "x" * 120 + ".jpg": files["train/Bild 0.JPEG"]}
    with tarfile.open(folder / "a-b.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(files, key=lambda name: name.partition(".")[2]):  # members of a sample far apart
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(files[name]), 1_700_000_000
            tar.addfile(member, io.BytesIO(files[name]))
    return files


def make_plan(sources: Iterable[Path], options: ReshardOptions | None = None) -> ReshardPlan:
    planner = ReshardPlanner([str(source) for source in sources], options or ReshardOptions(), ShardCache())
    assert list(planner.scan())[-1] == planner.shard_count
    return planner.plan()
