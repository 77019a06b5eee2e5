"""Frames as a generator leaves them in memory, that are compressed as photographs are."""

from functools import cache

import numpy as np

from bench.loader.workloads import CIFAR10, enlarged, small_images
from shards.codec import Pixels


@cache
def photographs(count: int, size: int) -> Pixels:
    """So many different ones, uint8 (count, size, size, 3): CIFAR-10's images, or generated ones where those are not at
    hand, enlarged, with the detail that enlarging lacks."""
    rng = np.random.default_rng(size)
    images, _, _ = small_images(count, rng)
    return np.stack(list(enlarged(images, size, rng)))


def source() -> str:
    """Return a description of the frames."""
    return "CIFAR-10, enlarged, with 1/f detail" if CIFAR10.is_file() else "generated 1/f pictures, enlarged"
