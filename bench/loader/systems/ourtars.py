"""webdataset on the shards that ours reads: four members per sample, of which two are skipped."""

from collections.abc import Iterable
from pathlib import Path

from bench.loader.decode import Batch
from bench.loader.systems.tars import load_tars
from bench.loader.workloads import Samples, Workload

SETTINGS = "the shards of shardmill, with select_files for image and class; else as webdataset"


def write(samples: Samples, folder: Path) -> None:
    """Link to the shards of `shardmill`."""
    folder.symlink_to(folder.with_name("shardmill") / "all")


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    return load_tars(folder, workload, workers, _is_image_or_class)


def _is_image_or_class(name: str) -> bool:
    return not name.endswith((".json", ".txt"))
