"""MosaicML Streaming: MDSWriter and StreamingDataset."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from bench.loader.decode import Batch, decode, stack
from bench.loader.workloads import Samples, Workload

SETTINGS = "MDS of encoded bytes, 64 MB shards; StreamingDataset(shuffle, py1e, predownload=100,000)"
_PREDOWNLOAD = 100_000  # with the default of 8 batches, threads that wait for the reader cost two thirds of the rate


def write(samples: Samples, folder: Path) -> None:
    with MDSWriter(out=str(folder), columns={"image": "bytes", "label": "int"}) as writer:
        for data, label in samples:
            writer.write({"image": data, "label": label})


class Decoded(StreamingDataset):
    """A dataset that decodes images on reading, as its documentation recommends for transforms."""

    def __getitem__(self, index: Any) -> Any:
        row = super().__getitem__(index)
        return decode(row["image"]), row["label"]


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    clean_stale_shared_memory()
    dataset = Decoded(
        local=str(folder), batch_size=workload.batch_size, shuffle=True, shuffle_algo="py1e", predownload=_PREDOWNLOAD
    )
    worker_options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return DataLoader(dataset, workload.batch_size, num_workers=workers, collate_fn=_collate, **worker_options)


def _collate(rows: Sequence[tuple[Any, int]]) -> Batch:
    images, labels = zip(*rows, strict=True)
    return stack(images, labels)
