"""webdataset: tars of image and class alone by its own writer, and WebLoader."""

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
    """Write 16 tars of two members per sample, so that the reader skips nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(samples.shards()):
        # With a fractional mtime every member gets a second header, which halves the reader's rate.
        with wds.TarWriter(str(folder / f"{number:05d}.tar"), encoder=False, mtime=0) as writer:
            for i, data, label in part:
                writer.write({"__key__": f"{i:07d}", samples.format: data, "cls": str(label).encode()})


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    return load_tars(folder, workload, workers)


def load_tars(
    folder: Path, workload: Workload, workers: int, keep_member: Callable[[str], bool] | None = None
) -> Iterable[Batch]:
    """Return a loader of all tars in a folder. keep_member: selects members by name; default: all."""
    tars = sorted(str(tar) for tar in folder.glob("*.tar"))
    dataset = (
        wds.WebDataset(tars, shardshuffle=SHARDS, select_files=keep_member)
        .shuffle(workload.buffer(workers))
        .map(_decoded)
        .batched(workload.batch_size, collation_fn=_collate)
    )
    worker_options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return wds.WebLoader(dataset, batch_size=None, num_workers=workers, **worker_options)  # type: ignore[no-any-return]


def _decoded(sample: dict[str, Any]) -> tuple[Any, int]:
    return decode(sample["jpg"] if "jpg" in sample else sample["png"]), int(sample["cls"])


def _collate(rows: Sequence[tuple[Any, int]]) -> Batch:
    images, labels = zip(*rows, strict=True)
    return stack(images, labels)
