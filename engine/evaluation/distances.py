"""Distances between the images of two sets, in blocks of bounded memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]
"""(images, dimensions)."""

_BLOCK_DISTANCES = 1 << 22
"""Distances that are in memory at a time."""


def squared_distances(ours: Features, theirs: Features) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield the squared Euclidean distances of all pairs in blocks: rows of `ours`, and an array (rows, theirs)."""
    centre = theirs.mean(axis=0, dtype=np.float64)  # a common offset would only cost digits
    others = theirs - centre
    lengths = np.square(others).sum(axis=1)
    step = max(1, _BLOCK_DISTANCES // max(1, len(theirs)))
    for start in range(0, len(ours), step):
        rows = slice(start, min(start + step, len(ours)))
        block = ours[rows] - centre
        squared = block @ (-2 * others.T)
        squared += np.square(block).sum(axis=1)[:, None]
        squared += lengths
        yield rows, np.maximum(squared, 0, out=squared)


def neighbour_radii(features: Features, count: int) -> NDArray[np.float64]:
    """Return the squared distances of each image to its `count` nearest other images, ascending: (images, count)."""
    radii = np.empty((len(features), count))
    for rows, squared in squared_distances(features, features):
        own = np.arange(rows.start, rows.stop)
        squared[own - rows.start, own] = np.inf  # an image is not its own neighbour
        radii[rows] = np.sort(np.partition(squared, count - 1, axis=1)[:, :count], axis=1)
    return radii
