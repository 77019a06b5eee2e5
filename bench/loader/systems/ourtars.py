"""webdataset, over the very shards that ours reads: four members a sample, of which two are skipped."""

from collections.abc import Iterable
from pathlib import Path

from bench.loader.decode import Batch
from bench.loader.systems.tars import load_tars
from bench.loader.workloads import Samples, Workload

SETTINGS = "the shards of shardmill, with select_files for image and class; else as webdataset"


def write(samples: Samples, folder: Path) -> None:
    """The link to what shardmill wrote."""
    folder.symlink_to(folder.with_name("shardmill") / "all")


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    return load_tars(folder, workload, workers, _wanted)


def _wanted(name: str) -> bool:
    return not name.endswith((".json", ".txt"))
