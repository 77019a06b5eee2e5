"""torchvision's ImageFolder: one file per image."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from bench.loader.decode import Batch, Image, decode, decode_batch, stack
from bench.loader.workloads import CLASSES, Samples, Workload

SETTINGS = "DataLoader(shuffle=True), persistent workers, prefetch_factor 4; file read whole, simplejpeg or cv2"


def write(samples: Samples, folder: Path) -> None:
    for label in range(CLASSES):
        (folder / f"{label:03d}").mkdir(parents=True)
    for i, (data, label) in enumerate(samples):
        (folder / f"{label:03d}" / f"{i:07d}.{samples.format}").write_bytes(data)


def load(folder: Path, workload: Workload, workers: int, ours: bool = False) -> Iterable[Batch]:
    dataset = ImageFolder(str(folder), loader=read if ours else read_image)
    collate = partial(_collate, join=decode_batch if ours else stack)
    worker_options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return DataLoader(
        dataset, workload.batch_size, shuffle=True, num_workers=workers, collate_fn=collate, **worker_options
    )


def read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a Path would cost a tenth of the time of a small image)
        return file.read()


def read_image(path: str) -> Image:
    return decode(read(path)) if path.endswith("jpg") else cv2.imread(path, cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]


def _collate(rows: Sequence[tuple[Any, int]], join: Any) -> Batch:
    images, labels = zip(*rows, strict=True)
    return join(images, labels)  # type: ignore[no-any-return]
