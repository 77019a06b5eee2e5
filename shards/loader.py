"""For PyTorch: a mix as an iterable dataset of ready batches. The only module here that imports torch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from shards.mix import MixedStream
from shards.reader import Batch


class ShardDataset(IterableDataset[dict[str, Any]]):
    """Batches of a mix as tensors; give it to a DataLoader with `batch_size=None`.

    Yields dicts: image uint8 (batch, 3, height, width), label int64 (batch,), synthetic bool (batch,), key list of str.
    steps: batches in one pass, which starts where `stream` stands when the pass begins. Workers read copies of the
           stream, so a trainer that stops after n batches and goes on later sets it: `load_state_dict({"batch": n})`.

    Worker w of W makes batches w, w + W, ..., which the DataLoader puts in order again: the sequence is the same for
    any number of workers.
    """

    def __init__(self, stream: MixedStream, steps: int) -> None:
        self._stream, self._steps = stream, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        start = int(self._stream.state_dict()["batch"])
        for step in range(first, self._steps, stride):
            yield _tensors(self._stream.batch(start + step))


def _tensors(batch: Batch) -> dict[str, Any]:
    return {
        "image": torch.from_numpy(batch.image).permute(0, 3, 1, 2),
        "label": torch.from_numpy(batch.label),
        "synthetic": torch.from_numpy(batch.synthetic),
        "key": list(batch.key),
    }
