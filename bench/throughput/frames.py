"""Frames in memory, as a generator returns them, that compress like photographs."""

from functools import cache

import numpy as np

from bench.loader.workloads import CIFAR10, enlarged, small_images
from shards.codec import Pixels


@cache
def photographs(count: int, size: int) -> Pixels:
    """Return different images, uint8 (count, size, size, 3): CIFAR-10 enlarged, with added 1/f detail.

    Without CIFAR-10 the images are generated.
    """
    rng = np.random.default_rng(size)
    images, _, _ = small_images(count, rng)
    return np.stack(list(enlarged(images, size, rng)))


def source() -> str:
    """Return what the frames are, for the table."""
    return "CIFAR-10, enlarged, with 1/f detail" if CIFAR10.is_file() else "generated 1/f pictures, enlarged"
