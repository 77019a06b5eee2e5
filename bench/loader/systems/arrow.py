"""Hugging Face `datasets`: a memory-mapped Arrow table with a transform that decodes a batch."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from torch.utils.data import DataLoader

from bench.loader.decode import Batch, decode, decode_batch, stack
from bench.loader.workloads import CLASSES, Samples, Workload

SETTINGS = "save_to_disk (Arrow, memory-mapped); set_transform decodes; DataLoader(shuffle=True)"


def write(samples: Samples, folder: Path) -> None:
    features = datasets.Features(
        {
            "image": datasets.Value("binary"),
            "label": datasets.ClassLabel(names=[f"{label:03d}" for label in range(CLASSES)]),
        }
    )
    rows = [{"image": data, "label": label} for data, label in samples]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(folder))


def load(folder: Path, workload: Workload, workers: int, ours: bool = False) -> Iterable[Batch]:
    dataset = datasets.load_from_disk(str(folder))
    if not ours:
        dataset.set_transform(_decoded)
    collate = partial(_collate, join=decode_batch if ours else stack)
    worker_options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return DataLoader(
        dataset, workload.batch_size, shuffle=True, num_workers=workers, collate_fn=collate, **worker_options
    )


def _decoded(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {"image": [decode(data) for data in rows["image"]], "label": rows["label"]}


def _collate(rows: list[dict[str, Any]], join: Any) -> Batch:
    return join([row["image"] for row in rows], [row["label"] for row in rows])  # type: ignore[no-any-return]
