"""LitData: `optimize` writes chunks; StreamingDataset and StreamingDataLoader read them."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import litdata

from bench.loader.decode import Batch, decode, decode_batch, stack
from bench.loader.workloads import Samples, Workload

SETTINGS = "optimize(chunk_bytes=64MB) of encoded bytes; StreamingDataset(shuffle, drop_last=False)"


def write(samples: Samples, folder: Path) -> None:
    litdata.optimize(
        fn=samples.__getitem__,
        inputs=list(range(len(samples))),
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        start_method="fork",
        verbose=False,
    )


def load(folder: Path, workload: Workload, workers: int, ours: bool = False) -> Iterable[Batch]:
    transform = None if ours else _decoded
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=False, transform=transform)
    collate = partial(_collate, join=decode_batch if ours else stack)
    worker_options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return litdata.StreamingDataLoader(
        dataset, batch_size=workload.batch_size, num_workers=workers, collate_fn=collate, **worker_options
    )


def _decoded(row: tuple[bytes, int]) -> tuple[Any, int]:
    return decode(row[0]), row[1]


def _collate(rows: Sequence[tuple[Any, int]], join: Any) -> Batch:
    images, labels = zip(*rows, strict=True)
    return join(images, labels)  # type: ignore[no-any-return]
