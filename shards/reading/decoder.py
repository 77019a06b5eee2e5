"""Decodes a whole batch into one array, in threads."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import CorruptImage, Pixels, decode_mask, decode_rgb, fit_mask, fit_rgb
from shards.errors import ShardError

Failure = tuple[int, str]
"""Position in the batch of an image that cannot be decoded, and why."""

_MAX_BUFFERS = 8


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Decoder:
    """A decoder of lists of images into arrays (images, height, width, 3), and of masks into (images, height, width).

    threads: decoders release the GIL, so threads of one process are faster than worker processes.
    size:    (height, width) that every image is scaled to cover and cropped to; None: all images must have one size.

    The memory of a batch that nobody references any more is reused, because fresh memory is mapped page by page.
    """

    def __init__(self, threads: int, size: tuple[int, int] | None) -> None:
        self.threads, self.size = threads, size
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._buffers: list[Pixels] = []
        self._lock = threading.Lock()

    def images(self, encoded: Sequence[Pixels]) -> tuple[Pixels, list[Failure]]:
        """Decode all images. The pixels of a failed one are undefined. Raises ShardError for different sizes."""
        if size := self.size:
            return self._decode(encoded, (*size, 3), lambda data, _: fit_rgb(decode_rgb(data), *size))
        return self._decode(encoded, _first_shape(encoded), decode_rgb)

    def masks(self, encoded: Sequence[Pixels], shape: tuple[int, int]) -> tuple[Pixels, list[Failure]]:
        """Decode all masks; `shape` is that of the images."""
        if size := self.size:
            return self._decode(encoded, shape, lambda data, _: fit_mask(decode_mask(data), *size))
        return self._decode(encoded, shape, lambda data, _: decode_mask(data))

    def _decode(
        self, encoded: Sequence[Pixels], shape: tuple[int, ...], decode: Callable[[Pixels, Pixels], Pixels]
    ) -> tuple[Pixels, list[Failure]]:
        """Decode everything to one shape; `decode` gets the bytes and the array that it may decode into."""
        batch, failures = self._buffer((len(encoded), *shape)), list[Failure]()

        def fill_range(start: int, end: int) -> None:
            for position in range(start, end):
                out = batch[position]
                try:
                    image = decode(encoded[position], out)
                except CorruptImage as error:
                    failures.append((position, str(error)))
                    continue
                if image.shape != out.shape:
                    sizes = f"{out.shape[:2]} and {image.shape[:2]}"
                    remedy = "open the stream with size=(height, width), which scales and crops them"
                    raise ShardError(f"images of one batch have different sizes, {sizes}: {remedy}")
                if image is not out:
                    out[...] = image

        # One range of the batch per thread: a task per image would cost more than decoding a small image.
        count, parts = len(encoded), min(self.threads, len(encoded))
        if parts <= 1:
            fill_range(0, count)
        else:
            cuts = [count * n // parts for n in range(parts + 1)]
            list(self._threads().map(fill_range, cuts[:-1], cuts[1:]))
        return batch, sorted(failures)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool[0] != os.getpid():  # a forked process inherits no threads
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads)
        return self._pool[1]

    def _buffer(self, shape: tuple[int, ...]) -> Pixels:
        """Return an unused or new array of a shape."""
        with self._lock:
            for position in range(len(self._buffers)):
                # A weak reference would not do: a tensor or a view may outlive the array that a batch held.
                unused = _reference_count(self._buffers, position) == _ONLY_IN_LIST
                if unused and self._buffers[position].shape == shape:
                    return self._buffers[position].view()
            buffer: NDArray[np.uint8] = np.empty(shape, np.uint8)
            self._buffers = [*self._buffers[-_MAX_BUFFERS + 1 :], buffer]
            return buffer.view()

    def __reduce__(self) -> tuple[Any, ...]:
        return Decoder, (self.threads, self.size)  # a worker process has its own threads and memory


def _reference_count(arrays: Sequence[Pixels], position: int) -> int:
    # Takes a position, not the array: some versions of Python count a local variable as a reference, others do not.
    return sys.getrefcount(arrays[position])


_ONLY_IN_LIST = _reference_count([np.zeros(1, np.uint8)], 0)


def _first_shape(encoded: Sequence[Pixels]) -> tuple[int, ...]:
    """Return the shape of the first image that can be decoded, or that of one pixel."""
    for data in encoded:
        with suppress(CorruptImage):
            return decode_rgb(data).shape
    return 1, 1, 3
