"""Overlap of two streams: samples with equal keys, equal image bytes, or near-duplicate images."""

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
"""Default number of the 64 bits in which near duplicates may differ. Of CIFAR-10's test images 138 have such a match in
train, of which about 4 are only similar; at 4 bits 74 have one, all duplicates, at 8 bits 239, a third only similar."""

_MAX_DISTANCE = 15  # beyond it, comparing all pairs is as fast, and most matches are chance
_FLAT_STD = 4.0  # grey levels: below it, noise of the encoder decides too many bits
_HASHED_SIDE, _LOW_FREQUENCIES = 32, slice(1, 9)
_BANDS, _BAND_BITS = 4, 16
_PAIRS_PER_CHUNK = 1 << 21
_IMAGES_PER_TASK = 512


class OverlapPair(NamedTuple):
    """Keys of a validation sample and its match in train. distance: bits in which their perceptual hashes differ."""

    validation: str
    train: str
    distance: int


@dataclass(frozen=True)
class Overlap:
    """Validation samples that have a match in train, each with the nearest match, or the first of equally near ones.

    validation, train: samples compared.
    key, bytes: samples with equal keys, and with equal encoded images; leaked: those in either.
    near: other samples whose perceptual hashes differ in at most `distance` bits, nearest first.
    flat: validation samples of (nearly) one colour, which have no perceptual hash.
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
class ImageFingerprints:
    """Fingerprints of images: key, 16 bytes of BLAKE2b of the file, perceptual hash, and whether the image is flat."""

    key: pa.Array
    digest: pa.Array
    perceptual: Hashes
    flat: NDArray[np.bool_]


def find_overlap(train: ShardStream, validation: ShardStream, distance: int = DISTANCE) -> Overlap:
    """Return the overlap of two streams. Raise ShardError for a sample that cannot be decoded.

    Near duplicates are images that were encoded again, scaled, or changed in brightness or colour. Images that were
    mirrored, cropped or rotated are not detected. Memory: 25 bytes per sample and the keys, never the images.
    """
    if not 0 <= distance <= _MAX_DISTANCE:
        raise ShardmillError(f"distance={distance} must be from 0 (equal hashes) to {_MAX_DISTANCE} bits")
    queries, stored = fingerprint_images(validation), fingerprint_images(train)
    key = _first_match(queries.key, stored.key)
    exact = _first_match(queries.digest, stored.digest)
    near = _nearest_match(queries, stored, distance)
    near[exact >= 0] = -1
    return Overlap(
        validation=len(queries.perceptual),
        train=len(stored.perceptual),
        key=_pairs(queries, stored, key),
        bytes=_pairs(queries, stored, exact),
        near=sorted(_pairs(queries, stored, near), key=lambda pair: pair.distance),
        flat=int(queries.flat.sum()),
        leaked=int(((key >= 0) | (exact >= 0)).sum()),
        distance=distance,
    )


def fingerprint_images(stream: ShardStream) -> ImageFingerprints:
    """Return the fingerprints of all samples of a stream, in the order of its index. Uses all cores."""
    count = len(stream.rows)
    digest, perceptual, flat = np.empty((count, 16), np.uint8), np.empty(count, np.uint64), np.empty(count, np.bool_)

    def fingerprint(start: int, encoded: Sequence[Pixels]) -> None:
        frequencies = np.zeros((len(encoded), 64), np.float32)  # an image that the stream skips counts as flat
        for number, data in enumerate(encoded):
            digest[start + number] = np.frombuffer(blake2b(data.data, digest_size=16).digest(), np.uint8)
            try:
                frequencies[number] = low_frequencies(decode_rgb(data))
            except CorruptImage as error:
                stream.reader.replacement(int(stream.rows[start + number]), str(error))
        end = start + len(encoded)
        perceptual[start:end], flat[start:end] = perceptual_hashes(frequencies)

    cores = available_cores()
    with ThreadPoolExecutor(cores) as pool:
        for first in range(0, count, _IMAGES_PER_TASK * cores):
            starts = range(first, min(first + _IMAGES_PER_TASK * cores, count), _IMAGES_PER_TASK)
            encoded = [stream.reader.encoded(stream.rows[start : start + _IMAGES_PER_TASK]) for start in starts]
            list(pool.map(fingerprint, starts, encoded))
    digests = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(digest)])
    return ImageFingerprints(stream.index.keys.take(pa.array(stream.rows)), digests, perceptual, flat)


def low_frequencies(image: Pixels) -> NDArray[np.float32]:
    """Return 64 DCT coefficients of an image: the lowest 8x8 of its grey 32x32 version, without the constant ones."""
    small = cv2.resize(image, (_HASHED_SIDE, _HASHED_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.dct(grey)[_LOW_FREQUENCIES, _LOW_FREQUENCIES], np.float32).ravel()


def perceptual_hashes(frequencies: NDArray[np.float32]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return hashes uint64 (n,), and which images are flat, for low frequencies (n, 64).

    Method: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010.
    """
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    flat = np.sqrt(np.mean(frequencies**2, axis=1)) < _FLAT_STD
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0], flat


def nearest(queries: Hashes, hashes: Hashes, distance: int) -> NDArray[np.int64]:
    """Return for each query the index of the nearest hash within `distance` bits, the first of equals, or -1. Exact.

    Of two hashes within d bits, one of four bands of 16 bits differs in at most d // 4 bits, so only such hashes are
    compared: Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012.
    """
    # Unique hashes, so that many equal images cost no more than one.
    unique_queries, inverse = np.unique(queries, return_inverse=True)
    unique_hashes, first = np.unique(hashes, return_index=True)
    # The distance and the index in `hashes` as one number, of which the least is the best match.
    no_match = (distance + 1) * len(hashes)
    best = np.full(len(unique_queries), no_match)
    for band in range(_BANDS):
        candidates = _candidates(_band(unique_queries, band), _band(unique_hashes, band), distance // _BANDS)
        for query, candidate in candidates:
            bits = np.bitwise_count(unique_queries[query] ^ unique_hashes[candidate])
            close = bits <= distance
            np.minimum.at(best, query[close], bits[close] * np.int64(len(hashes)) + first[candidate[close]])
    return np.where(best < no_match, best % len(hashes), -1)[inverse]


def _band(hashes: Hashes, band: int) -> NDArray[np.int64]:
    return ((hashes >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)).astype(np.int64)


def _candidates(
    queries: NDArray[np.int64], hashes: NDArray[np.int64], radius: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the indices of pairs whose bands differ in at most `radius` bits, in chunks."""
    order = np.argsort(hashes, kind="stable")
    start = np.searchsorted(hashes[order], np.arange((1 << _BAND_BITS) + 1))
    for flipped in (bits for count in range(radius + 1) for bits in combinations(range(_BAND_BITS), count)):
        bucket = queries ^ sum(1 << bit for bit in flipped)
        sizes = start[bucket + 1] - start[bucket]
        ends = np.cumsum(sizes)
        cuts = np.searchsorted(ends, np.arange(_PAIRS_PER_CHUNK, ends[-1], _PAIRS_PER_CHUNK), side="right")
        for chunk in np.split(np.arange(len(queries)), np.unique(cuts)):
            count = sizes[chunk]
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            yield np.repeat(chunk, count), order[np.repeat(start[bucket[chunk]], count) + within]


def _nearest_match(queries: ImageFingerprints, stored: ImageFingerprints, distance: int) -> NDArray[np.int64]:
    """Return for each query the index of the nearest stored image, or -1. Flat images match nothing."""
    matches = np.full(len(queries.perceptual), -1)
    rows, stored_rows = np.flatnonzero(~queries.flat), np.flatnonzero(~stored.flat)
    if len(rows) and len(stored_rows):
        indices = nearest(queries.perceptual[rows], stored.perceptual[stored_rows], distance)
        matches[rows] = np.where(indices >= 0, stored_rows[indices], -1)
    return matches


def _first_match(queries: pa.Array, stored: pa.Array) -> NDArray[np.int64]:
    """Return for each query the first index at which it is stored, or -1."""
    return np.asarray(pc.index_in(queries, value_set=stored).fill_null(-1), np.int64)


def _pairs(queries: ImageFingerprints, stored: ImageFingerprints, matches: NDArray[np.int64]) -> list[OverlapPair]:
    rows = np.flatnonzero(matches >= 0)
    bits = np.bitwise_count(queries.perceptual[rows] ^ stored.perceptual[matches[rows]]).tolist()
    validation = queries.key.take(pa.array(rows)).to_pylist()
    train = stored.key.take(pa.array(matches[rows])).to_pylist()
    return list(map(OverlapPair, validation, train, bits))
