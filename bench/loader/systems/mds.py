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
_AHEAD = 100_000  # by default 8 batches, and then its threads, waiting for the reader, cost two thirds of the rate


def write(samples: Samples, folder: Path) -> None:
    with MDSWriter(out=str(folder), columns={"image": "bytes", "label": "int"}) as writer:
        for data, label in samples:
            writer.write({"image": data, "label": label})


class Decoded(StreamingDataset):
    """Images decoded as they are read, which is where its documentation puts transforms."""

    def __getitem__(self, at: Any) -> Any:
        row = super().__getitem__(at)
        return decode(row["image"]), row["label"]


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    clean_stale_shared_memory()
    dataset = Decoded(
        local=str(folder), batch_size=workload.batch_size, shuffle=True, shuffle_algo="py1e", predownload=_AHEAD
    )
    more: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return DataLoader(dataset, workload.batch_size, num_workers=workers, collate_fn=_collate, **more)


def _collate(rows: Sequence[tuple[Any, int]]) -> Batch:
    images, labels = zip(*rows, strict=True)
    return stack(images, labels)
