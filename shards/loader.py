"""PyTorch loaders: the batches of a mix as tensors. The only module of this package that imports torch."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from shards.mixing.mixed_stream import MixedStream
from shards.reading.batch import BatchPart, gather
from shards.reading.decoder import Decoder
from shards.reading.epoch_order import RandomPurpose, random_bits

Transform = Callable[..., Any]
"""Takes uint8 (batch, 3, height, width), as torchvision's v2 transforms do. With masks it takes and returns two
`tv_tensors`, Image and Mask. A random transform of v2 draws once per call, so once per batch; to draw once per sample:
`lambda images: torch.stack([transform(image) for image in images])`."""


class _TensorBatches:
    """A part of a mix: `steps` batches, which are transformed one by one."""

    def __init__(self, stream: MixedStream, steps: int | None, transform: Transform | None) -> None:
        self._stream, self._steps, self._transform = stream, steps, transform

    def __len__(self) -> int:
        if self._steps is None:
            raise TypeError(f"a {type(self).__name__} without `steps` has no length")
        return self._steps

    def _transformed(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        if self._transform is None:
            return batch
        # The seed follows from the batch, so that a resumed training repeats the same draws.
        index = number * self._stream.world_size + self._stream.rank
        seed = int(random_bits(1, RandomPurpose.TRANSFORM, self._stream.seed, index)[0]) >> 1
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the trainer's GPUs
            if "mask" not in batch:
                return batch | {"image": self._transform(batch["image"])}
            from torchvision import tv_tensors

            image, mask = self._transform(tv_tensors.Image(batch["image"]), tv_tensors.Mask(batch["mask"]))
        return batch | {"image": image.as_subclass(Tensor), "mask": mask.as_subclass(Tensor)}


class ShardLoader(_TensorBatches):
    """Batches of a mix, decoded by threads of this process while the trainer uses the previous one.

    See `ShardDataset` for the content of a batch. Each thread decodes one batch; their number is that of the streams.

    steps:     batches in one pass; None: until the mix ends. The next pass continues where the last one stopped.
    transform: see Transform. It runs in the thread that asks for the batch.
    ahead:     batches that are decoded in advance, besides those in progress.

    `state_dict` counts the batches that were returned, not those decoded in advance. Save it with the model's
    checkpoint, yourself or through Lightning or Ray Train. It is valid for another world size.
    """

    def __init__(
        self, stream: MixedStream, steps: int | None = None, *, transform: Transform | None = None, ahead: int = 2
    ) -> None:
        super().__init__(stream, steps, transform)
        self._ahead, self._decoder = max(0, ahead), Decoder(1, stream.decoder.size)
        self._next = int(stream.state_dict()["batch"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        threads = self._stream.decoder.threads
        number, end = self._next, None if self._steps is None else self._next + self._steps
        pending: deque[Future[dict[str, Any]]] = deque()
        pool = ThreadPoolExecutor(threads)
        try:
            while True:
                while len(pending) < threads + self._ahead and number != end and self._stream.has_batch(number):
                    pending.append(pool.submit(_load, self._stream.parts(number), self._decoder))
                    number += 1
                if not pending:
                    return
                batch = pending.popleft().result()
                self._next += 1
                yield self._transformed(batch, self._next - 1)
                del batch  # so that its memory can be reused
        finally:
            pool.shutdown(cancel_futures=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the trainer's position: small and JSON-able."""
        return self._stream.state_at(self._next)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume at `state_dict` in the next pass. Raise ShardError for the state of another mix."""
        self._stream.load_state_dict(state)
        self._next = int(state["batch"])


class ShardDataset(_TensorBatches, IterableDataset[dict[str, Any]]):
    """Batches of a mix as tensors, for a DataLoader with `batch_size=None`.

    Use it to run a slow `transform` in worker processes; otherwise `ShardLoader` is simpler.

    Yields dicts: image uint8 (batch, 3, height, width) or the result of `transform`, label int64 (batch,), synthetic
    bool (batch,), source int64 (batch,), key list of str; where the streams have them, mask and `fields`.
    Every pass yields the same batches, so one pass is a whole training; `ShardLoader` continues in the next pass.
    steps: batches in one pass, which starts at the position of `stream` when the pass begins; None: until the mix ends.
           Workers read copies of the stream. To resume after n batches, call `load_state_dict({"batch": n})`;
           torchdata's StatefulDataLoader does so by itself.

    The sequence is the same for any number of workers. Worker w of W loads batches w, w + W, ..., in one thread.
    """

    def __init__(self, stream: MixedStream, steps: int | None = None, *, transform: Transform | None = None) -> None:
        super().__init__(stream, steps, transform)
        self._done = self._resumed = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # One thread per worker: there are usually as many workers as cores.
        decoder = self._stream.decoder if worker is None else Decoder(1, self._stream.decoder.size)
        start = int(self._stream.state_dict()["batch"])
        # A pass starts at its beginning, unless a state was loaded; the position of an abandoned pass is dropped.
        self._done, self._resumed = self._resumed, 0
        step = first + self._done * stride
        while (self._steps is None or step < self._steps) and self._stream.has_batch(start + step):
            batch = _load(self._stream.parts(start + step), decoder)
            self._done += 1
            yield self._transformed(batch, start + step)
            step += stride
        self._done = 0

    def state_dict(self) -> dict[str, Any]:
        """Return this worker's position: where its pass began, and how many batches it has loaded since."""
        return self._stream.state_dict() | {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume at `state_dict`. Raise ShardError for the state of another mix."""
        self._stream.load_state_dict(state)
        self._done = self._resumed = int(state.get("done", 0))


def _load(parts: Sequence[BatchPart], decoder: Decoder) -> dict[str, Any]:
    batch = gather(parts, decoder)
    tensors = {
        "image": torch.from_numpy(batch.image).permute(0, 3, 1, 2),
        "label": torch.from_numpy(batch.label),
        "synthetic": torch.from_numpy(batch.synthetic),
        "source": torch.from_numpy(batch.source),
        "key": list(batch.key),
    }
    if batch.mask is not None:
        tensors["mask"] = torch.from_numpy(batch.mask)
    if batch.fields:
        tensors["fields"] = dict(batch.fields)
    return tensors
