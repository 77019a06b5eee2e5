"""Samples that two streams share: by key, by the bytes of the image, and by how it looks."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shards.codec import CorruptImage, Pixels, decode_rgb
from shards.errors import ShardmillError
from shards.reading.decoder import available_cores
from shards.reading.shard_stream import ShardStream

Hashes = NDArray[np.uint64]

DISTANCE = 6
"""Bits of 64 in which near duplicates may differ. Among CIFAR-10's test images it finds 138 with a twin in train, of
which 4 or so are merely alike; at 4 bits it finds 74, all of them twins, and at 8 bits 239, a third of them not."""

_MOST = 15  # beyond that, comparing all with all is as fast, and finds mostly chance
_FLAT = 4.0  # grey levels: under it, what an encoder adds decides more bits than near duplicates may differ in
_SIDE, _LOW = 32, slice(1, 9)
_BANDS, _WIDTH = 4, 16
_AT_ONCE = 1 << 21
_PART = 512


class OverlapPair(NamedTuple):
    """Keys of a validation sample and of its twin in train; distance: bits in which their perceptual hashes differ."""

    validation: str
    train: str
    distance: int


@dataclass(frozen=True)
class Overlap:
    """Validation samples that have a twin in train, each with one twin: the nearest, and of these the first.

    validation, train: samples compared.
    key:      samples of equal keys, whatever their images are.
    bytes:    samples whose encoded images are equal byte for byte.
    near:     other samples whose perceptual hashes differ in at most `distance` bits, the nearest first.
    flat:     validation samples of (nearly) one colour, which have no perceptual hash.
    leaked:   validation samples in `key` or `bytes` or both.
    """

    validation: int
    train: int
    key: Sequence[OverlapPair]
    bytes: Sequence[OverlapPair]
    near: Sequence[OverlapPair]
    flat: int
    leaked: int
    distance: int


@dataclass(frozen=True)
class Prints:
    """What is kept of images: keys; 16 bytes of BLAKE2b of each file; 64 bits of how it looks; whether it is flat."""

    key: pa.Array
    digest: pa.Array
    look: Hashes
    flat: NDArray[np.bool_]


def find_overlap(train: ShardStream, validation: ShardStream, distance: int = DISTANCE) -> Overlap:
    """Compare all samples of two streams. Holds 25 bytes a sample and the keys, never the images.

    Near duplicates are those that were encoded again, scaled, or changed in brightness or colour; what was mirrored,
    cropped or turned is not found. Raises ShardError for a sample that cannot be decoded.
    """
    if not 0 <= distance <= _MOST:
        raise ShardmillError(f"a distance of {distance} bits: it must be from 0 (equal hashes) to {_MOST}")
    ours, theirs = fingerprints(validation), fingerprints(train)
    key, exact, near = _first(ours.key, theirs.key), _first(ours.digest, theirs.digest), _near(ours, theirs, distance)
    near[exact >= 0] = -1
    return Overlap(
        validation=len(ours.look),
        train=len(theirs.look),
        key=_pairs(ours, theirs, key),
        bytes=_pairs(ours, theirs, exact),
        near=sorted(_pairs(ours, theirs, near), key=lambda pair: pair.distance),
        flat=int(ours.flat.sum()),
        leaked=int(((key >= 0) | (exact >= 0)).sum()),
        distance=distance,
    )


def fingerprints(stream: ShardStream) -> Prints:
    """Of every sample that a stream takes, in the order of its index, on all cores."""
    count = len(stream.rows)
    digest, look, flat = np.empty((count, 16), np.uint8), np.empty(count, np.uint64), np.empty(count, np.bool_)

    def part(start: int, encoded: Sequence[Pixels]) -> None:
        waves = np.zeros((len(encoded), 64), np.float32)  # of an image that the stream skips, as if it were flat
        for number, data in enumerate(encoded):
            digest[start + number] = np.frombuffer(blake2b(data.data, digest_size=16).digest(), np.uint8)
            try:
                waves[number] = low_frequencies(decode_rgb(data))
            except CorruptImage as error:
                stream.replacement(int(stream.rows[start + number]), str(error))
        look[start : start + len(waves)], flat[start : start + len(waves)] = perceptual_hashes(waves)

    with ThreadPoolExecutor(available_cores()) as pool:
        for first in range(0, count, _PART * available_cores()):
            starts = range(first, min(first + _PART * available_cores(), count), _PART)
            list(pool.map(part, starts, [stream.encoded(stream.rows[start : start + _PART]) for start in starts]))
    digests = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(digest)])
    return Prints(stream.index.keys.take(pa.array(stream.rows)), digests, look, flat)


def low_frequencies(image: Pixels) -> NDArray[np.float32]:
    """The 8x8 lowest waves of an image in both directions, without constant rows and columns, as 64 numbers: of the
    orthonormal DCT of the image at 32x32 in grey."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.dct(grey)[_LOW, _LOW], np.float32).ravel()


def perceptual_hashes(waves: NDArray[np.float32]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Hashes uint64 (n,), and which images are flat, from low frequencies (n, 64): a bit for each wave that is
    above the median (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010)."""
    bits = waves > np.median(waves, axis=1, keepdims=True)
    flat = np.sqrt(np.mean(waves**2, axis=1)) < _FLAT
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0], flat


def nearest(queries: Hashes, hashes: Hashes, distance: int) -> NDArray[np.int64]:
    """For each query the place of the nearest hash within `distance` bits, the first of equals, or -1. Exact.

    Of two hashes within d bits, one of four bands of 16 bits differs in at most d // 4 bits (the pigeonhole
    principle), so only hashes that share such a band are compared: Norouzi, Punjani and Fleet, "Fast Search in Hamming
    Space with Multi-Index Hashing", 2012.
    """
    ours, back = np.unique(queries, return_inverse=True)  # many equal images cost no more than one
    theirs, first = np.unique(hashes, return_index=True)
    worst = (distance + 1) * len(hashes)
    best = np.full(len(ours), worst)  # bits, then the place in `hashes`, as one number
    for band in range(_BANDS):
        for one, other in _candidates(_band(ours, band), _band(theirs, band), distance // _BANDS):
            bits = np.bitwise_count(ours[one] ^ theirs[other])
            close = bits <= distance
            np.minimum.at(best, one[close], bits[close] * np.int64(len(hashes)) + first[other[close]])
    return np.where(best < worst, best % len(hashes), -1)[back]


def _band(hashes: Hashes, band: int) -> NDArray[np.int64]:
    return ((hashes >> np.uint64(band * _WIDTH)) & np.uint64((1 << _WIDTH) - 1)).astype(np.int64)


def _candidates(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], radius: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Numbers of the pairs whose bands differ in at most `radius` bits, some at a time."""
    order = np.argsort(theirs, kind="stable")
    start = np.searchsorted(theirs[order], np.arange((1 << _WIDTH) + 1))
    for flipped in (bits for count in range(radius + 1) for bits in combinations(range(_WIDTH), count)):
        bucket = ours ^ sum(1 << bit for bit in flipped)
        sizes = start[bucket + 1] - start[bucket]
        ends = np.cumsum(sizes)
        cuts = np.searchsorted(ends, np.arange(_AT_ONCE, ends[-1], _AT_ONCE), side="right")
        for some in np.split(np.arange(len(ours)), np.unique(cuts)):
            count = sizes[some]
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            yield np.repeat(some, count), order[np.repeat(start[bucket[some]], count) + within]


def _near(ours: Prints, theirs: Prints, distance: int) -> NDArray[np.int64]:
    """For each of our images the place of the nearest of theirs, or -1; flat ones are left out on both sides."""
    twin = np.full(len(ours.look), -1)
    rows, others = np.flatnonzero(~ours.flat), np.flatnonzero(~theirs.flat)
    if len(rows) and len(others):
        found = nearest(ours.look[rows], theirs.look[others], distance)
        twin[rows] = np.where(found >= 0, others[found], -1)
    return twin


def _first(ours: pa.Array, theirs: pa.Array) -> NDArray[np.int64]:
    """For each of ours the first place where it stands among theirs, or -1."""
    return np.asarray(pc.index_in(ours, value_set=theirs).fill_null(-1), np.int64)


def _pairs(ours: Prints, theirs: Prints, twin: NDArray[np.int64]) -> list[OverlapPair]:
    rows = np.flatnonzero(twin >= 0)
    bits = np.bitwise_count(ours.look[rows] ^ theirs.look[twin[rows]]).tolist()
    keys = (some.key.take(pa.array(places)).to_pylist() for some, places in ((ours, rows), (theirs, twin[rows])))
    return [OverlapPair(*found) for found in zip(*keys, bits, strict=True)]
