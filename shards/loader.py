"""For PyTorch: a mix as ready batches of tensors. The only module here that imports torch."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from shards.mixing.mixed_stream import MixedStream
from shards.reading.batch import Batch, BatchPart, gather
from shards.reading.decoder import Decoder
from shards.reading.epoch_order import Purpose, raw

Transform = Callable[..., Any]
"""Takes uint8 (batch, 3, height, width), as torchvision's v2 transforms do; with masks it takes and gives two
`tv_tensors`, Image and Mask. A random transform of v2 draws once a call, so once a batch here; for a draw a sample:
`lambda images: torch.stack([transform(one) for one in images])`."""


def _tensors(batch: Batch) -> dict[str, Any]:
    found = {
        "image": torch.from_numpy(batch.image).permute(0, 3, 1, 2),
        "label": torch.from_numpy(batch.label),
        "synthetic": torch.from_numpy(batch.synthetic),
        "source": torch.from_numpy(batch.source),
        "key": list(batch.key),
    }
    found |= {} if batch.mask is None else {"mask": torch.from_numpy(batch.mask)}
    return found | ({"fields": dict(batch.fields)} if batch.fields else {})


def _transformed(
    batch: dict[str, Any], transform: Transform | None, stream: MixedStream, number: int
) -> dict[str, Any]:
    if transform is None:
        return batch
    # Its draws follow from the batch as well, so that a resumed training goes on with the same ones.
    seed = int(raw(1, Purpose.TRANSFORM, stream.seed, number * stream.world_size + stream.rank)[0]) >> 1
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would set the trainer's GPUs as well
        if "mask" not in batch:
            return batch | {"image": transform(batch["image"])}
        from torchvision import tv_tensors

        image, mask = transform(tv_tensors.Image(batch["image"]), tv_tensors.Mask(batch["mask"]))
    return batch | {"image": image.as_subclass(Tensor), "mask": mask.as_subclass(Tensor)}


class ShardLoader:
    """Batches of a mix, decoded by threads of this process while the last one is trained on; see `ShardDataset` for
    what is in them.

    steps:     batches in one pass; None: until the mix ends. The next pass goes on where the last one stopped.
    transform: see Transform. It runs when a batch is asked for, in the thread that asks.
    ahead:     batches that are ready before they are asked for, besides those that threads are at.

    Each thread decodes a batch of its own; there are as many as the streams of the mix say.

    `state_dict` says what was given out, not what was made ahead; save it with the model's checkpoint, in a bare loop,
    in Lightning, which does so by itself, or in Ray Train. It is valid for another world size.
    """

    def __init__(
        self, stream: MixedStream, steps: int | None = None, *, transform: Transform | None = None, ahead: int = 2
    ) -> None:
        self._stream, self._steps, self._transform, self._ahead = stream, steps, transform, max(0, ahead)
        self._decoder = Decoder(1, stream.decoder.size)
        self._next = int(stream.state_dict()["batch"])

    def __len__(self) -> int:
        if self._steps is None:
            raise TypeError("a loader without `steps` has no length")
        return self._steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        threads = self._stream.decoder.threads
        number, end = self._next, None if self._steps is None else self._next + self._steps
        making: deque[Future[dict[str, Any]]] = deque()
        pool = ThreadPoolExecutor(threads)
        try:
            while True:
                while len(making) < threads + self._ahead and number != end and self._stream.has(number):
                    making.append(pool.submit(self._made, self._stream.parts(number)))
                    number += 1
                if not making:
                    return
                batch = making.popleft().result()
                self._next += 1
                yield _transformed(batch, self._transform, self._stream, self._next - 1)
                del batch  # so that its memory can be used again
        finally:
            pool.shutdown(cancel_futures=True)

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer stands: small and JSON-able."""
        return self._stream.state_at(self._next)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, in the next pass. Raises ShardError for the state of another mix."""
        self._stream.load_state_dict(state)
        self._next = int(state["batch"])

    def _made(self, parts: Sequence[BatchPart]) -> dict[str, Any]:
        return _tensors(gather(parts, self._decoder))


class ShardDataset(IterableDataset[dict[str, Any]]):
    """Batches of a mix as tensors; give it to a DataLoader with `batch_size=None`. For a slow `transform` in worker
    processes; else `ShardLoader` is simpler.

    Yields dicts: image uint8 (batch, 3, height, width) or what `transform` makes of it, label int64 (batch,), synthetic
    bool (batch,), source int64 (batch,), key list of str; where the streams have them mask and `fields`.
    Every pass over it gives the same batches, so one pass is a whole training; `ShardLoader` goes on in the next one.
    steps: batches in one pass, which starts where `stream` stands when the pass begins; None: until the mix ends.
           Workers read copies of the stream, so a trainer that stops after n batches and goes on later sets it:
           `load_state_dict({"batch": n})`. torchdata's StatefulDataLoader does so by itself.

    Worker w of W makes batches w, w + W, ..., in one thread each, which the DataLoader puts in order
    again: the sequence is the same for any number of workers.
    """

    def __init__(self, stream: MixedStream, steps: int | None = None, *, transform: Transform | None = None) -> None:
        self._stream, self._steps, self._transform = stream, steps, transform
        self._done = self._resumed = 0

    def __len__(self) -> int:
        if self._steps is None:
            raise TypeError("a dataset without `steps` has no length")
        return self._steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # Workers are as many as cores already.
        decoder = self._stream.decoder if worker is None else Decoder(1, self._stream.decoder.size)
        start = int(self._stream.state_dict()["batch"])
        # Of a pass that was left before its end nothing remains: a new one begins, unless a state was loaded.
        self._done, self._resumed = self._resumed, 0
        step = first + self._done * stride
        while (self._steps is None or step < self._steps) and self._stream.has(start + step):
            batch = _tensors(gather(self._stream.parts(start + step), decoder))
            self._done += 1
            yield _transformed(batch, self._transform, self._stream, start + step)
            step += stride
        self._done = 0

    def state_dict(self) -> dict[str, Any]:
        """Of this worker: where its pass began, and how many batches of it this worker has made."""
        return self._stream.state_dict() | {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises ShardError for the state of another mix."""
        self._stream.load_state_dict(state)
        self._done = self._resumed = int(state.get("done", 0))
