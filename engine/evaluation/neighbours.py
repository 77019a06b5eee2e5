"""Nearest real images of synthetic ones by features, and copies by pixels.

Pixels are compared as thumbnails: 8x8 mean colours, normalised in brightness and contrast, so that encoding, scaling,
noise and exposure hardly change them. An image is a copy if its nearest real image, or the mirror image of one, is
nearer than a quarter of the usual distance between a real image and its nearest neighbour. This finds 55 images of
CIFAR-10's 10,000 test images in train, with hardly any false ones. It does not find copies that were cropped or shifted
by more than a few percent."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.evaluation.measure_result import PixelMatch
from shards.codec import Pixels

Progress = Callable[[Iterable[int], int, str], Iterator[int]]
"""Yields the counts that it is given while it shows them; arguments: counts, total, what is counted."""


Features = NDArray[np.floating[Any]]
"""(images, dimensions)."""
_BLOCK_DISTANCES = 1 << 22
"""Distances that are in memory at a time."""
_SIDE = 8
_FLAT = 4.0  # standard deviation in grey levels: smaller variation is noise and is not amplified
_FULL_CONTRAST = 0.999
_COPY_RATIO = 0.25
_SAMPLED = 2000
_CHUNK = 4096


def noop(counts: Iterable[int], total: int, text: str) -> Iterator[int]:
    """Yield the counts and show nothing."""
    return iter(counts)


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


@dataclass(frozen=True)
class PixelMatches:
    """The real image that is most like each image by pixels: its row, and whether its mirror image is the match.

    distance_ratio: distance as a share of the usual distance of real images to each other.
    """

    row: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    distance_ratio: NDArray[np.float64]

    @property
    def is_copy(self) -> NDArray[np.bool_]:
        """Which images are copies: bool (images,)."""
        return self.distance_ratio < _COPY_RATIO

    def by_distance(self, rows: NDArray[np.int64]) -> list[int]:
        """Sort rows, those of the clearest matches first."""
        return list(map(int, rows[np.argsort(self.distance_ratio[rows], kind="stable")]))

    def match(self, row: int, key: str, class_name: str, real_keys: Sequence[str]) -> PixelMatch:
        """Return the match of an image, from the keys of all real images."""
        return PixelMatch(
            key=key,
            class_name=class_name,
            real=real_keys[self.row[row]],
            mirrored=bool(self.mirrored[row]),
            distance_ratio=float(self.distance_ratio[row]),
            is_copy=bool(self.is_copy[row]),
        )


def nearest(ours: Features, theirs: Features, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return rows of the `count` nearest of `theirs`, the nearest first, and Euclidean distances: (ours, count)."""
    count = min(count, len(theirs))
    row, distance = np.empty((len(ours), count), np.int64), np.empty((len(ours), count))
    for block, squared in squared_distances(ours, theirs):
        chosen = np.argpartition(squared, count - 1, axis=1)[:, :count]
        of_chosen = np.take_along_axis(squared, chosen, axis=1)
        order = np.lexsort((chosen, of_chosen), axis=1)
        row[block] = np.take_along_axis(chosen, order, axis=1)
        distance[block] = np.sqrt(np.take_along_axis(of_chosen, order, axis=1))
    return row, distance


def match_pixels(ours: Features, theirs: Features, progress: Progress = noop) -> PixelMatches:
    """Find the real thumbnail that is most like each thumbnail. An image of nearly one colour is never a copy."""
    usual, chunks = usual_distance(theirs), []
    for start in progress(range(0, len(ours), _CHUNK), len(ours), "compared with real images"):
        chunk = ours[start : start + _CHUNK]
        (row, distance), (mirror_row, mirror_distance) = nearest(chunk, theirs, 1), nearest(mirrored(chunk), theirs, 1)
        mirror_wins = mirror_distance < distance
        row = np.where(mirror_wins, mirror_row, row)
        ratio = np.minimum(mirror_distance, distance) / usual
        flat = np.linalg.norm(chunk, axis=1, keepdims=True) < _FULL_CONTRAST
        chunks.append((row, mirror_wins, np.where(flat, np.maximum(ratio, 1), ratio)))
    return PixelMatches(*(np.concatenate(column)[:, 0] for column in zip(*chunks, strict=True)))


def usual_distance(features: Features) -> float:
    """Return the median distance to the nearest other image, from at most 2,000 images; 1 for a single image."""
    if len(features) < 2:
        return 1.0
    sampled = np.unique(np.linspace(0, len(features) - 1, min(_SAMPLED, len(features))).astype(np.int64))
    row, distance = nearest(features[sampled], features, 2)
    other = np.where(row[:, 0] == sampled, distance[:, 1], distance[:, 0])
    return max(float(np.median(other)), 1e-6)


def thumbnails(images: Sequence[Pixels] | Pixels) -> NDArray[np.float32]:
    """Return thumbnails, (images, 192), with mean 0 and length 1; images of one colour are shorter."""
    small = np.empty((len(images), _SIDE * _SIDE * 3), np.float32)
    for row, image in enumerate(images):
        small[row] = cv2.resize(image.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(small).mean(axis=1, keepdims=True))
    small /= np.maximum(deviation, _FLAT) * np.sqrt(small.shape[1])
    return small


def mirrored(small: Features) -> Features:
    """Return the thumbnails of the mirror images."""
    return small.reshape(-1, _SIDE, _SIDE, 3)[:, :, ::-1].reshape(len(small), -1)
