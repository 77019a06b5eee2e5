"""The limit: decoding encoded bytes from memory straight into one reused batch, in random order. Nothing is read or
collated.

On all cores it is measured with a thread per core and with a process per core; the faster one counts.
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
    """Measure samples/s: {"one": ...}, or for several workers {"threads": ..., "processes": ...}."""
    if not workers:
        return {"one": decode_for(samples, batch_size, 0, seconds)}
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(decode_for, samples, batch_size, seed, seconds) for seed in range(workers)]
        threads = sum(job.result() for job in jobs)
    context = get_context("fork")
    with context.Pool(workers) as processes:
        start = time.time() + 0.3  # all processes have started by then
        results = [
            processes.apply_async(_decode_from, (start, samples, batch_size, n, seconds)) for n in range(workers)
        ]
        return {"threads": threads, "processes": sum(result.get() for result in results)}


def decode_for(samples: Samples, batch_size: int, seed: int, seconds: float) -> float:
    """Measure samples/s of one thread over at least `seconds`, after an untimed batch."""
    rng = np.random.default_rng(seed)
    encoded = [np.frombuffer(samples[i][0], np.uint8) for i in rng.permutation(len(samples)).tolist()]
    decode_into = _jpeg_into if samples.format == "jpg" else _png_into
    batch = np.empty((batch_size, *_shape(encoded[0])), np.uint8)
    decoded, began = -batch_size, time.perf_counter()
    while True:
        for start in range(0, len(encoded) - batch_size + 1, batch_size):
            decode_into(encoded[start : start + batch_size], batch)
            decoded += batch_size
            if not decoded:
                began = time.perf_counter()
            elif (passed := time.perf_counter() - began) > seconds:
                return decoded / passed


def _jpeg_into(encoded: list[NDArray[np.uint8]], batch: NDArray[np.uint8]) -> None:
    for row, data in zip(batch, encoded, strict=True):
        simplejpeg.decode_jpeg(data, buffer=row)


def _png_into(encoded: list[NDArray[np.uint8]], batch: NDArray[np.uint8]) -> None:
    for i, data in enumerate(encoded):
        batch[i] = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def _shape(data: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB).shape)


def _decode_from(start: float, *arguments: Any) -> float:
    time.sleep(max(0.0, start - time.time()))
    return decode_for(*arguments)
