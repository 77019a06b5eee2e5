"""For PyTorch: a mix as ready batches of tensors. The only module here that imports torch."""

import threading
from collections.abc import Callable, Iterator, Mapping
from queue import Full, Queue
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from shards.batch import Batch
from shards.mix import MixedStream
from shards.order import Purpose, raw

Transform = Callable[..., Any]
"""Takes uint8 (batch, 3, height, width), as torchvision's v2 transforms do; with masks it takes and gives two
`tv_tensors`, Image and Mask. A random transform of v2 draws once a call, so once a batch here; for a draw a sample:
`lambda images: torch.stack([transform(one) for one in images])`."""

_WAIT_S = 0.1


class _Tensors:
    """Batches of a mix as dicts: image uint8 (batch, 3, height, width) or what `transform` makes of it, label int64
    (batch,), synthetic bool (batch,), source int64 (batch,), key list of str; where the streams have them mask uint8
    (batch, height, width) and `fields`."""

    def __init__(self, stream: MixedStream, transform: Transform | None) -> None:
        self.stream, self._transform = stream, transform

    def batch(self, number: int) -> dict[str, Any]:
        found = self.stream.batch(number)
        tensors: dict[str, Any] = {
            "image": torch.from_numpy(found.image).permute(0, 3, 1, 2),
            "label": torch.from_numpy(found.label),
            "synthetic": torch.from_numpy(found.synthetic),
            "source": torch.from_numpy(found.source),
            "key": list(found.key),
            **_optional(found),
        }
        return tensors if self._transform is None else tensors | self._transformed(number, tensors)

    def _transformed(self, number: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self._transform is not None
        # Its draws follow from the batch as well, so that a resumed training goes on with the same ones.
        seed = int(raw(1, Purpose.TRANSFORM, self.stream.seed, number * self.stream.world_size + self.stream.rank)[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed >> 1)
            if "mask" not in tensors:
                return {"image": self._transform(tensors["image"])}
            from torchvision import tv_tensors

            image, mask = self._transform(tv_tensors.Image(tensors["image"]), tv_tensors.Mask(tensors["mask"]))
        return {"image": image.as_subclass(Tensor), "mask": mask.as_subclass(Tensor)}


def _optional(batch: Batch) -> dict[str, Any]:
    found: dict[str, Any] = {} if batch.mask is None else {"mask": torch.from_numpy(batch.mask)}
    return found | ({"fields": dict(batch.fields)} if batch.fields else {})


class ShardLoader:
    """Batches of a mix, made by threads of this process while the last one is trained on; see `ShardDataset` for what
    is in them.

    steps:     batches in one pass; None: until the mix ends. The next pass goes on where the last one stopped.
    transform: see Transform.
    ahead:     batches that are made before they are asked for.

    `state_dict` says what was given out, not what was made ahead; save it with the model's checkpoint, in a bare loop,
    in Lightning, which does so by itself, or in Ray Train. It is valid for another world size.
    """

    def __init__(
        self, stream: MixedStream, steps: int | None = None, *, transform: Transform | None = None, ahead: int = 2
    ) -> None:
        self._tensors, self._steps, self._ahead = _Tensors(stream, transform), steps, max(1, ahead)
        self._next = int(stream.state_dict()["batch"])

    def __len__(self) -> int:
        if self._steps is None:
            raise TypeError("a loader without `steps` has no length")
        return self._steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        ready: Queue[tuple[int, dict[str, Any] | BaseException | None]] = Queue(self._ahead)
        stopped = threading.Event()
        maker = threading.Thread(target=self._make, args=(self._next, ready, stopped), daemon=True)
        maker.start()
        try:
            while True:
                number, batch = ready.get()
                if batch is None:
                    return
                if isinstance(batch, BaseException):
                    raise batch
                self._next = number + 1
                yield batch
                del batch  # so that its memory can be used again
        finally:
            stopped.set()
            maker.join()

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer stands: small and JSON-able."""
        return self._tensors.stream.state_at(self._next)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, in the next pass. Raises ShardError for the state of another mix."""
        self._tensors.stream.load_state_dict(state)
        self._next = int(state["batch"])

    def _make(self, first: int, ready: "Queue[Any]", stopped: threading.Event) -> None:
        number, found = first, None
        while not stopped.is_set():
            if found is None:
                found = self._made(number, first)
            try:
                ready.put(found, timeout=_WAIT_S)
            except Full:
                continue
            if not isinstance(found[1], dict):
                return
            number, found = number + 1, None

    def _made(self, number: int, first: int) -> tuple[int, dict[str, Any] | BaseException | None]:
        if (self._steps is not None and number - first >= self._steps) or not self._tensors.stream.has(number):
            return number, None
        try:
            return number, self._tensors.batch(number)
        except BaseException as error:  # raised where the batch is asked for
            return number, error


class ShardDataset(IterableDataset[dict[str, Any]]):
    """Batches of a mix as tensors; give it to a DataLoader with `batch_size=None`. For a slow `transform` in worker
    processes; `ShardLoader` is simpler and, for decoding alone, faster.

    Yields dicts: image uint8 (batch, 3, height, width) or what `transform` makes of it, label int64 (batch,), synthetic
    bool (batch,), source int64 (batch,), key list of str; where the streams have them mask and `fields`.
    steps: batches in one pass, which starts where `stream` stands when the pass begins; None: until the mix ends.
           Workers read copies of the stream, so a trainer that stops after n batches and goes on later sets it:
           `load_state_dict({"batch": n})`. torchdata's StatefulDataLoader does so by itself.

    Worker w of W makes batches w, w + W, ..., which the DataLoader puts in order again: the sequence is the same for
    any number of workers.
    """

    def __init__(self, stream: MixedStream, steps: int | None = None, *, transform: Transform | None = None) -> None:
        self._tensors, self._steps, self._done = _Tensors(stream, transform), steps, 0

    def __len__(self) -> int:
        if self._steps is None:
            raise TypeError("a dataset without `steps` has no length")
        return self._steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        start = int(self._tensors.stream.state_dict()["batch"])
        step = first + self._done * stride
        while (self._steps is None or step < self._steps) and self._tensors.stream.has(start + step):
            batch = self._tensors.batch(start + step)
            self._done += 1
            yield batch
            step += stride
        self._done = 0

    def state_dict(self) -> dict[str, Any]:
        """Of this worker: where its pass began, and how many batches of it this worker has made."""
        return self._tensors.stream.state_dict() | {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises ShardError for the state of another mix."""
        self._tensors.stream.load_state_dict(state)
        self._done = int(state.get("done", 0))
