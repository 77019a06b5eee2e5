"""Our stream from S3 beside the same shards on this disk. The store is moto on the loopback, with delayed answers."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from bench.loader.workloads import WORKLOADS, Samples, make_samples
from bench.s3_server import serve_s3
from shards import MixedStream, Sample, ShardStream, ShardWriter
from shards.loader import ShardLoader
from shards.stats import STATS_SUFFIX
from shards.storage.open_store import open_store
from shards.storage.shard_cache import ShardCache

SHARDS, WINDOW, REPEATS = 32, 4, {"32x32 PNG": 4, "256x256 JPEG": 2}
THREADS = {"first epoch, one thread": 1, "first epoch, all cores": None}


def measure(folder: Path, *, rounds: int, workloads: Sequence[str], delay_s: float = 0.02) -> list[dict[str, Any]]:
    """Return rows of the workloads that are small enough, 32x32 PNG and 256x256 JPEG.

    The figure is samples/s of decoded batches from the end of the first shard to the end of the first epoch, with a
    window shuffle over 4 of 32 shards and an empty cache each time. Local and S3 are measured in turn.

    folder:  keeps the shards for the next call.
    delay_s: seconds before each answer of the store.
    """
    rows = []
    with serve_s3() as store, store.environment():
        for workload in (name for name in workloads if name in REPEATS):
            local = write_shards(workload, folder / workload.replace(" ", "_"))
            bucket = workload.lower().replace(" ", "-")
            store.make_bucket(bucket)
            places = {"local": str(local), "S3": store.put_folder(bucket, "train", local)}
            store.delay(delay_s)
            rates: dict[tuple[str, str], list[float]] = {key: [] for key in product(THREADS, places)}
            for number in range(rounds):
                for mode, name in sorted(rates, reverse=bool(number % 2)):
                    batch_size = WORKLOADS[workload].batch_size
                    rates[mode, name].append(rate(places[name], batch_size, THREADS[mode]))
            store.delay(0)
            rows += [
                _row(workload, mode, name, place_rates, rates[mode, "local"], delay_s)
                for (mode, name), place_rates in rates.items()
            ]
    return rows


def rate(place: str, batch_size: int, threads: int | None) -> float:
    """Return samples/s of the first epoch after its first shard."""
    with _empty_cache() as cache:
        stream = ShardStream(place, window=WINDOW, cache=cache, threads=threads)
        batches = len(stream) // batch_size
        first = -(-len(stream) // SHARDS // batch_size)
        start = 0.0
        for number, _ in enumerate(ShardLoader(MixedStream(stream, batch_size=batch_size), steps=batches), 1):
            if number == first:
                start = time.perf_counter()
        return (batches - first) * batch_size / (time.perf_counter() - start)


def write_shards(workload: str, folder: Path) -> Path:
    """Write the samples of a workload, repeated, to SHARDS shards; return their folder."""
    marker, shards = folder / "done", folder / "shards"
    if not marker.exists():
        shutil.rmtree(folder, ignore_errors=True)
        make_samples(WORKLOADS[workload], folder / "samples")
        samples = Samples(folder / "samples")
        size = len(samples) * REPEATS[workload] // SHARDS
        for number in range(SHARDS):
            _write_shard(shards, number, samples, range(number * size, (number + 1) * size))
        marker.touch()
    return shards


def _write_shard(folder: Path, number: int, samples: Samples, rows: Sequence[int]) -> None:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, f"{number:05d}") as writer:
        for i in rows:
            data, label = samples[i % len(samples)]
            key = f"{i:07d}"
            meta = {"key": key, "label": label, "class_name": str(label), "synthetic": False, "prompt": ""}
            writer.add(Sample(key, data, samples.format, label, meta))
        files = writer.publish()
    open_store(folder).publish_json(
        f"{number:05d}{STATS_SUFFIX}", {"count": len(rows), "files": [file.as_json() for file in files]}
    )


@contextmanager
def _empty_cache() -> Iterator[ShardCache]:
    with tempfile.TemporaryDirectory() as folder:
        yield ShardCache(Path(folder))


def _row(
    workload: str, mode: str, name: str, rates: Sequence[float], local: Sequence[float], delay_s: float
) -> dict[str, Any]:
    suffix = "" if name == "local" else f", {delay_s * 1000:.0f} ms a request"
    return {
        "workload": workload,
        "mode": mode,
        "system": f"shardmill, {name}{suffix}",
        "median": round(median(rates), 1),
        "min": round(min(rates), 1),
        "max": round(max(rates), 1),
        "rounds": len(rates),
        "ratio_to_local": round(median(rates) / median(local), 3),
    }
