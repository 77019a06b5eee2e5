"""The limit: the same encoded bytes in memory, in another order every epoch, decoded straight into a batch that is
used again and again, with our decoder. Nothing is read, shuffled or collated.

On all cores it is measured with a thread a core and with a process a core, and the faster one counts.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from bench.loader.workloads import Samples

SETTINGS = "encoded bytes in memory, batch preallocated; simplejpeg, or cv2 for PNG"


def rates(samples: Samples, batch_size: int, workers: int, seconds: float) -> dict[str, float]:
    """Samples/s: {"one": ...}, or for several workers {"threads": ..., "processes": ...}."""
    if not workers:
        return {"one": decode_for(samples, batch_size, 0, seconds)}
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(decode_for, samples, batch_size, seed, seconds) for seed in range(workers)]
        threads = sum(job.result() for job in jobs)
    context = get_context("fork")
    with context.Pool(workers) as processes:
        start = time.time() + 0.3  # until all have started
        pending = [
            processes.apply_async(_decode_from, (start, samples, batch_size, n, seconds)) for n in range(workers)
        ]
        return {"threads": threads, "processes": sum(one.get() for one in pending)}


def decode_for(samples: Samples, batch_size: int, seed: int, seconds: float) -> float:
    """Samples/s of one thread over at least `seconds`, after a batch that is not counted."""
    rng = np.random.default_rng(seed)
    encoded = [np.frombuffer(samples[i][0], np.uint8) for i in rng.permutation(len(samples)).tolist()]
    decode_into = _jpeg_into if samples.format == "jpg" else _png_into
    batch = np.empty((batch_size, *_shape(encoded[0])), np.uint8)
    done, begun = -batch_size, time.perf_counter()
    while True:
        for start in range(0, len(encoded) - batch_size + 1, batch_size):
            decode_into(encoded[start : start + batch_size], batch)
            done += batch_size
            if not done:
                begun = time.perf_counter()
            elif (passed := time.perf_counter() - begun) > seconds:
                return done / passed


def _jpeg_into(encoded: list[NDArray[np.uint8]], batch: NDArray[np.uint8]) -> None:
    for place, data in zip(batch, encoded, strict=True):
        simplejpeg.decode_jpeg(data, buffer=place)


def _png_into(encoded: list[NDArray[np.uint8]], batch: NDArray[np.uint8]) -> None:
    for i, data in enumerate(encoded):
        batch[i] = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def _shape(data: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB).shape)


def _decode_from(start: float, *arguments: Any) -> float:
    time.sleep(max(0.0, start - time.time()))
    return decode_for(*arguments)
