"""`python -m bench writer`: our ShardWriter beside webdataset's, with small encoded images and equal members.

Ours also writes the index and the SHA-256 of every shard, and waits until the files are on the disk.
"""

import json
import statistics
import tarfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import webdataset

from bench.machine import machine
from shards import Sample, ShardWriter
from shards.codec import encode_rgb, fit_rgb

ROUNDS = 7
SAMPLES = 20_000
PER_SHARD = (1_000, 10_000)
DISTINCT = 500

Write = Callable[[Path, Sequence[Sample], int], None]


def main(out: Path, work: Path | None) -> None:
    samples = _samples()
    with TemporaryDirectory(dir=work) as folder:
        rows = [row for per_shard in PER_SHARD for row in _compare(Path(folder), samples, per_shard)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "writer.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    table = _table(rows, samples)
    (out / "writer.md").write_text(table, encoding="utf-8")
    print(table)


def shardmill(folder: Path, samples: Sequence[Sample], per_shard: int) -> None:
    for start in range(0, len(samples), per_shard):
        with ShardWriter(folder, f"{start // per_shard:05d}") as writer:
            for sample in samples[start : start + per_shard]:
                writer.add(sample)
            writer.publish()


def webdataset_writer(folder: Path, samples: Sequence[Sample], per_shard: int) -> None:
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=per_shard, verbose=0, mtime=0) as writer:
        for sample in samples:
            content = {
                sample.format: sample.image,
                "cls": sample.label,
                "json": sample.meta,
                "txt": sample.meta["prompt"],
            }
            writer.write({"__key__": sample.key, **content})


SYSTEMS: dict[str, Write] = {"shardmill": shardmill, "webdataset": webdataset_writer}


def _samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (DISTINCT, 12, 12, 3), dtype=np.uint8)
    images = [encode_rgb(fit_rgb(image, 32, 32), "png") for image in coarse]
    return [_sample(number, images[number % DISTINCT]) for number in range(SAMPLES)]


def _sample(number: int, image: bytes) -> Sample:
    key, label = f"{number:09d}", number % 10
    meta = {
        "key": key,
        "label": label,
        "class_name": f"class {label}",
        "synthetic": True,
        "generation": 1,
        "prompt": f"a photo of a thing of class {label}, in rain, at dawn",
        "model": "a-model",
        "seed": 2**61 + number,
        "guidance": 7.5,
        "steps": 8,
    }
    return Sample(key, image, "png", label, meta)


def _compare(folder: Path, samples: Sequence[Sample], per_shard: int) -> list[dict[str, Any]]:
    """Measure all systems in a warm-up and ROUNDS rounds, alternating their order, and return a row for each."""
    rates: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    for number in range(ROUNDS + 1):
        names = list(SYSTEMS) if number % 2 else list(reversed(SYSTEMS))
        contents = []
        for name in names:
            with TemporaryDirectory(dir=folder) as place:
                started = time.perf_counter()
                SYSTEMS[name](Path(place), samples, per_shard)
                rates[name].append(len(samples) / (time.perf_counter() - started))
                contents += [_content(Path(place))] if number == 0 else []
        assert all(content == contents[0] for content in contents), "the systems wrote different files"
    medians = {name: statistics.median(rounds[1:]) for name, rounds in rates.items()}
    return [
        {
            "workload": f"32x32 PNG, {per_shard:,} a shard",
            "system": name,
            "version": version(name),
            "median": round(medians[name]),
            "rounds": [round(rate) for rate in rates[name][1:]],
            "ratio_to_webdataset": round(medians[name] / medians["webdataset"], 2),
        }
        for name in SYSTEMS
    ]


def _content(folder: Path) -> dict[str, bytes]:
    members = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            members |= {f"{path.stem}/{member.name}": tar.extractfile(member).read() for member in tar}
    return members


def _table(rows: Sequence[dict[str, Any]], samples: Sequence[Sample]) -> str:
    size = statistics.mean(len(sample.image) for sample in samples)
    lines = [
        f"`python -m bench writer`: {SAMPLES:,} samples of a 32x32 PNG ({size:,.0f} bytes on average), .cls, .json and",
        f".txt; one process, medians of {ROUNDS} rounds in which the two systems alternate. Ours also writes the",
        "index and SHA-256, and waits for the disk.",
        "",
        "| workload | system | samples/s | slowest and fastest round | to webdataset |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{min(row['rounds']):,} to {max(row['rounds']):,}"
        system = f"{row['system']} {row['version']}"
        ratio = row["ratio_to_webdataset"]
        lines.append(f"| {row['workload']} | {system} | {row['median']:,} | {spread} | {ratio:.2f} |")
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine())}", ""])
