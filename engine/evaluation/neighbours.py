"""The nearest real images of synthetic ones, and which of them are copies.

By pixels, an image is 8x8 means of its colours, freed from brightness and contrast: encoding, scaling, noise or another
exposure hardly move it. It is a copy where its nearest real image, or the mirror image of one, is nearer than a quarter
of what is usual between a real image and the nearest other. Of CIFAR-10's 10,000 test images that finds 55 in train,
hardly any of them merely alike; copies that were cut or shifted by more than a few percent are not found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.evaluation.distances import Features, squared_distances
from engine.evaluation.measure_progress import Progress, untold
from shards.codec import Pixels

_SIDE = 8
_FLAT = 4.0  # grey levels of deviation: what varies less is noise, and stays small
_WHOLE = 0.999
_COPY = 0.25
_DRAWN = 2000
_PART = 4096


@dataclass(frozen=True)
class Nearest:
    """The nearest images of another set, the nearest first.

    place:    int64 (images, count), their rows there.
    distance: float64 (images, count), Euclidean.
    """

    place: NDArray[np.int64]
    distance: NDArray[np.float64]


@dataclass(frozen=True)
class Copies:
    """The real image that each image is most like by pixels.

    place:    int64 (images,), its row. mirrored: bool (images,), whether the image is its mirror image.
    ratio:    float64 (images,), its distance as a share of the usual one of real images to each other.
    """

    place: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    ratio: NDArray[np.float64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which images are copies."""
        return self.ratio < _COPY


def nearest(ours: Features, theirs: Features, count: int) -> Nearest:
    """Of each of ours the `count` nearest of theirs, all of them where there are fewer."""
    count = min(count, len(theirs))
    place, distance = np.empty((len(ours), count), np.int64), np.empty((len(ours), count))
    for rows, squared in squared_distances(ours, theirs):
        chosen = np.argpartition(squared, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(squared, chosen, axis=1)
        order = np.lexsort((chosen, found), axis=1)
        place[rows] = np.take_along_axis(chosen, order, axis=1)
        distance[rows] = np.sqrt(np.take_along_axis(found, order, axis=1))
    return Nearest(place, distance)


def find_copies(ours: Features, theirs: Features, progress: Progress = untold) -> Copies:
    """Compare thumbnails with those of real images. An image of (nearly) one colour is a copy of none."""
    usual, parts = usual_distance(theirs), []
    for start in progress(range(0, len(ours), _PART), len(ours), "compared with real images"):
        some = ours[start : start + _PART]
        straight, mirror = (nearest(one, theirs, 1) for one in (some, mirrored(some)))
        turned = mirror.distance < straight.distance
        place = np.where(turned, mirror.place, straight.place)
        ratio = np.minimum(mirror.distance, straight.distance) / usual
        flat = np.linalg.norm(some, axis=1, keepdims=True) < _WHOLE
        parts.append((place, turned, np.where(flat, np.maximum(ratio, 1), ratio)))
    return Copies(*(np.concatenate(one)[:, 0] for one in zip(*parts, strict=True)))


def usual_distance(features: Features) -> float:
    """The median distance of an image to the nearest other one of its set, from at most 2,000 spread over the set.

    A median, so that a few copies within the set do not matter. 1 where there is no other.
    """
    if len(features) < 2:
        return 1.0
    drawn = np.unique(np.linspace(0, len(features) - 1, min(_DRAWN, len(features))).astype(np.int64))
    near = nearest(features[drawn], features, 2)
    other = np.where(near.place[:, 0] == drawn, near.distance[:, 1], near.distance[:, 0])
    return max(float(np.median(other)), 1e-6)


def thumbnails(images: Sequence[Pixels] | Pixels) -> NDArray[np.float32]:
    """What `find_copies` compares: (images, 192), of mean 0 and, but for those of one colour, of length 1."""
    found = np.empty((len(images), _SIDE * _SIDE * 3), np.float32)
    for row, image in enumerate(images):
        found[row] = cv2.resize(image.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    found -= found.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(found).mean(axis=1, keepdims=True))
    found /= np.maximum(deviation, _FLAT) * np.sqrt(found.shape[1])
    return found


def mirrored(small: Features) -> Features:
    """Thumbnails of the mirror images."""
    return small.reshape(-1, _SIDE, _SIDE, 3)[:, :, ::-1].reshape(len(small), -1)
