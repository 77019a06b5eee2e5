"""webdataset: its own writer's tars of image and class alone, and WebLoader."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import webdataset as wds

from bench.loader.decode import Batch, decode, stack
from bench.loader.workloads import SHARDS, Samples, Workload

SETTINGS = "16 ustar tars of image and class alone; shardshuffle, shuffle of up to 1000, batched, WebLoader"


def write(samples: Samples, folder: Path) -> None:
    write_tars(samples, folder)


def write_tars(samples: Samples, folder: Path) -> None:
    """16 tars of two members a sample: nothing that a reader would only have to skip. A whole number as mtime keeps
    the writer from giving every member a second header, which halves the reader's rate."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(samples.shards()):
        with wds.TarWriter(str(folder / f"{number:05d}.tar"), encoder=False, mtime=0) as writer:
            for i, data, label in part:
                writer.write({"__key__": f"{i:07d}", samples.format: data, "cls": str(label).encode()})


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    return load_tars(folder, workload, workers)


def load_tars(
    folder: Path, workload: Workload, workers: int, wanted: Callable[[str], bool] | None = None
) -> Iterable[Batch]:
    """wanted: which members to read, by name; default: all."""
    tars = sorted(str(tar) for tar in folder.glob("*.tar"))
    dataset = (
        wds.WebDataset(tars, shardshuffle=SHARDS, select_files=wanted)
        .shuffle(workload.buffer(workers))
        .map(_decoded)
        .batched(workload.batch_size, collation_fn=_collate)
    )
    more: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return wds.WebLoader(dataset, batch_size=None, num_workers=workers, **more)  # type: ignore[no-any-return]


def _decoded(sample: dict[str, Any]) -> tuple[Any, int]:
    return decode(sample["jpg"] if "jpg" in sample else sample["png"]), int(sample["cls"])


def _collate(rows: Sequence[tuple[Any, int]]) -> Batch:
    images, labels = zip(*rows, strict=True)
    return stack(images, labels)
