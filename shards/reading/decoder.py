"""Decoding a whole batch into one array, in threads."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import CorruptImage, Pixels, decode_mask, decode_rgb, fit_mask, fit_rgb
from shards.errors import ShardError

Failure = tuple[int, str]
"""Place in the batch of an image that cannot be decoded, and why."""

_SPARE = 8


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Decoder:
    """Decodes lists of encoded images into arrays of shape (images, height, width, 3); masks (images, height, width).

    threads: decoders release the GIL, so threads of one process beat worker processes.
    size:    (height, width) that every image is scaled to cover and cut to; None: all must have the same size.

    Memory of a batch that nobody holds any more is used again: fresh memory is mapped anew, page by page.
    """

    def __init__(self, threads: int, size: tuple[int, int] | None) -> None:
        self.threads, self.size = threads, size
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._spare: list[Pixels] = []
        self._lock = threading.Lock()

    def images(self, encoded: Sequence[Pixels]) -> tuple[Pixels, list[Failure]]:
        """All of them; what stands at the place of a failure means nothing. Raises ShardError for different sizes."""
        shape = (*self.size, 3) if self.size else _first_shape(encoded)
        if shape is None:
            return np.zeros((len(encoded), 1, 1, 3), np.uint8), [(i, _why(data)) for i, data in enumerate(encoded)]
        batch = self._empty((len(encoded), *shape))
        size = self.size
        if size is None:
            return batch, self._fill(encoded, batch, decode_rgb)
        return batch, self._fill(encoded, batch, lambda data, _: fit_rgb(decode_rgb(data), *size))

    def masks(self, encoded: Sequence[Pixels], shape: tuple[int, int]) -> tuple[Pixels, list[Failure]]:
        """All masks; `shape` is that of the images."""
        batch = self._empty((len(encoded), *shape))
        size = self.size
        if size is None:
            return batch, self._fill(encoded, batch, lambda data, _: decode_mask(data))
        return batch, self._fill(encoded, batch, lambda data, _: fit_mask(decode_mask(data), *size))

    def _fill(self, encoded: Sequence[Pixels], batch: Pixels, one: Callable[[Pixels, Pixels], Pixels]) -> list[Failure]:
        failures: list[Failure] = []

        def part(low: int, high: int) -> None:
            for i in range(low, high):
                out = batch[i]
                try:
                    image = one(encoded[i], out)
                except CorruptImage as error:
                    failures.append((i, str(error)))
                    continue
                if image is not out:
                    if image.shape != out.shape:
                        raise ShardError(
                            f"images of one batch have different sizes, {out.shape[:2]} and {image.shape[:2]}: open "
                            "the stream with size=(height, width), which scales and cuts them"
                        )
                    out[...] = image

        # One stretch of the batch a thread: a task for each image would cost more than a small image's decoding.
        count, parts = len(encoded), min(self.threads, len(encoded))
        if parts <= 1:
            part(0, count)
        else:
            cuts = [count * n // parts for n in range(parts + 1)]
            list(self._threads().map(part, cuts[:-1], cuts[1:]))
        return sorted(failures)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool[0] != os.getpid():  # threads do not live on in a forked worker
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads)
        return self._pool[1]

    def _empty(self, shape: tuple[int, ...]) -> Pixels:
        with self._lock:
            for place in range(len(self._spare)):
                # No batch, no tensor and no view is left of it.
                if self._spare[place].shape == shape and _holders(self._spare, place) == _LIST_ALONE:
                    return self._spare[place].view()
            fresh: NDArray[np.uint8] = np.empty(shape, np.uint8)
            self._spare = [*self._spare[-_SPARE + 1 :], fresh]
            return fresh.view()

    def __getstate__(self) -> dict[str, Any]:
        return {"threads": self.threads, "size": self.size}  # a worker process has its own threads and memory

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _holders(arrays: Sequence[Pixels], place: int) -> int:
    # By its place, for a local variable counts as a holder in some versions of Python and not in others.
    return sys.getrefcount(arrays[place])


_LIST_ALONE = _holders([np.zeros(1, np.uint8)], 0)


def _first_shape(encoded: Sequence[Pixels]) -> tuple[int, ...] | None:
    for data in encoded:
        try:
            return decode_rgb(data).shape
        except CorruptImage:
            continue
    return None


def _why(data: Pixels) -> str:
    try:
        decode_rgb(data)
    except CorruptImage as error:
        return str(error)
    return ""
