"""Ours: shards of ShardWriter, a full shuffle, decoding threads in one process."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.loader.decode import Batch
from bench.loader.workloads import SHARDS, Samples, Workload
from shards import MixedStream, Sample, ShardStream, ShardWriter
from shards.loader import ShardLoader
from shards.stats import STATS_SUFFIX
from shards.storage.open_store import open_store

SETTINGS = "16 shards of image, class, json and prompt; full shuffle; ShardLoader(MixedStream), a thread a core"
HALVES = ("first", "second")


def write(samples: Samples, folder: Path) -> None:
    """Write all samples to `all`, and again as two halves, of which the second is marked synthetic."""
    shards = list(samples.shards())
    for name, part in (("all", shards), (HALVES[0], shards[: SHARDS // 2]), (HALVES[1], shards[SHARDS // 2 :])):
        (folder / name).mkdir(parents=True)
        for number, rows in enumerate(part):
            _write_shard(folder / name, f"{number:05d}", rows, samples.format, synthetic=name == HALVES[1])


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    stream = ShardStream(folder / "all", threads=max(1, workers))
    return Epochs(ShardLoader(MixedStream(stream, batch_size=workload.batch_size), steps=workload.batches))


class Epochs:
    """A loader whose batches are pairs of images and labels."""

    def __init__(self, loader: ShardLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            yield batch["image"], batch["label"]
            del batch  # release its memory for the next batch, as a training loop does


def one_source(folder: Path, batch_size: int) -> Iterator[object]:
    """Return an endless iterator over batches of one source, read in one thread."""
    return iter(MixedStream(ShardStream(folder / "all", threads=1), batch_size=batch_size))


def two_sources(folder: Path, batch_size: int) -> Iterator[object]:
    """Return an endless iterator over batches of the same samples as a mix of two sources."""
    first, second = (ShardStream(folder / half, threads=1) for half in HALVES)
    return iter(MixedStream(first, second, alpha=0.5, batch_size=batch_size))


def _write_shard(
    folder: Path, name: str, rows: Sequence[tuple[int, bytes, int]], format: str, *, synthetic: bool
) -> None:
    with ShardWriter(folder, name) as writer:
        for i, data, label in rows:
            key = f"{i:07d}"
            meta = {"key": key, "label": label, "class_name": str(label), "synthetic": synthetic, "prompt": ""}
            writer.add(Sample(key, data, format, label, meta))
        files = writer.publish()
    open_store(folder).publish_json(
        f"{name}{STATS_SUFFIX}", {"count": len(rows), "files": [file.as_json() for file in files]}
    )
