"""Overlap of two streams: planted pairs, the search against brute force, and the duplicates in CIFAR-10."""

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.real_shards import write_shard
from shards import Sample, ShardError, ShardmillError, ShardStream
from shards.codec import Pixels, decode_rgb, encode_rgb
from shards.tools.overlap import DISTANCE, Overlap, OverlapPair, find_overlap, fingerprint_images, nearest
from tests.conftest import Jobs
from tests.optional import CIFAR10, needs_cifar10


def photo(number: int, side: int = 64) -> Pixels:
    """Return an image with smooth colours and some detail, which can be scaled and encoded like a photo."""
    rng = np.random.default_rng(number)
    layers = [
        cv2.resize(rng.uniform(0, 255, (cells, cells, 3)), (side, side), interpolation=cv2.INTER_CUBIC) * weight
        for cells, weight in ((4, 0.5), (8, 0.3), (16, 0.2))
    ]
    return np.clip(sum(layers), 0, 255).astype(np.uint8)


def write(folder: Path, images: Sequence[tuple[str, bytes]], per_shard: int = 50) -> ShardStream:
    """Write shards of these keys and encoded images."""
    folder.mkdir(parents=True)
    for start in range(0, len(images), per_shard):
        samples = [
            Sample(
                key,
                data,
                "png" if data.startswith(b"\x89PNG") else "jpg",
                0,
                {"key": key, "label": 0, "class_name": "x", "synthetic": False, "prompt": ""},
            )
            for key, data in images[start : start + per_shard]
        ]
        write_shard(folder, f"{start // per_shard:05d}", samples)
    return ShardStream(folder, shuffle=True, seed=3)


def flat(colour: int, form: str) -> bytes:
    return encode_rgb(np.full((64, 64, 3), colour, np.uint8), form)


PLANTED = {
    "same-bytes": encode_rgb(photo(1), "png"),
    "again-as-jpeg": encode_rgb(photo(2), "jpg", 50),
    "smaller": encode_rgb(cv2.resize(photo(3), (40, 40), interpolation=cv2.INTER_AREA), "png"),
    "larger-and-wider": encode_rgb(cv2.resize(photo(4), (160, 96), interpolation=cv2.INTER_CUBIC), "jpg"),
    "brighter": encode_rgb(cv2.convertScaleAbs(photo(5), alpha=0.8, beta=40), "png"),
    "grey": encode_rgb(cv2.cvtColor(cv2.cvtColor(photo(6), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), "png"),
    "mirrored": encode_rgb(np.ascontiguousarray(photo(7)[:, ::-1]), "png"),
    "turned": encode_rgb(np.ascontiguousarray(np.rot90(photo(8))), "png"),
    "train0009": encode_rgb(photo(1009), "png"),
    "unrelated": encode_rgb(photo(1010), "png"),
    "flat-same-bytes": flat(90, "png"),
    "flat-other": flat(91, "jpg"),
}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> ShardStream:
    images = [(f"train{number:04d}", encode_rgb(photo(number), "png")) for number in range(120)]
    return write(tmp_path_factory.mktemp("train") / "shards", [*images, ("train-flat", flat(90, "png"))])


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> ShardStream:
    return write(tmp_path_factory.mktemp("validation") / "shards", list(PLANTED.items()), per_shard=5)


@pytest.fixture(scope="module")
def overlap(train: ShardStream, validation: ShardStream) -> Overlap:
    return find_overlap(train, validation)


def test_planted_pairs_are_detected_by_their_kind(overlap: Overlap) -> None:
    assert [(pair.validation, pair.train) for pair in overlap.key] == [("train0009", "train0009")]
    assert overlap.key[0].distance > DISTANCE, "equal keys do not imply equal images"
    assert set(overlap.bytes) == {
        OverlapPair("same-bytes", "train0001", 0),
        OverlapPair("flat-same-bytes", "train-flat", 0),
    }
    assert {(pair.validation, pair.train) for pair in overlap.near} == {
        ("again-as-jpeg", "train0002"),
        ("smaller", "train0003"),
        ("larger-and-wider", "train0004"),
        ("brighter", "train0005"),
        ("grey", "train0006"),
    }
    distances = [pair.distance for pair in overlap.near]
    assert distances == sorted(distances)
    assert max(distances) <= DISTANCE
    assert (overlap.validation, overlap.train, overlap.flat, overlap.leaked) == (len(PLANTED), 121, 2, 3)


def test_no_pair_is_beyond_the_distance(train: ShardStream, validation: ShardStream, overlap: Overlap) -> None:
    for distance in (0, 2, 4):
        expected = [pair for pair in overlap.near if pair.distance <= distance]
        assert list(find_overlap(train, validation, distance).near) == expected
    for distance in (-1, 16):
        with pytest.raises(ShardmillError, match="must be from 0"):
            find_overlap(train, validation, distance)


def test_samples_that_a_stream_omits_are_not_compared(train: ShardStream, validation: ShardStream) -> None:
    (folder,) = {Path(tar.url).parent for tar in validation.index.tars}
    selected = ShardStream(folder, select=["smaller", "unrelated", "turned"])
    overlap = find_overlap(train, selected)
    assert (overlap.validation, overlap.leaked) == (3, 0)
    assert [(pair.validation, pair.train) for pair in overlap.near] == [("smaller", "train0003")]


def test_a_stream_overlaps_with_itself_completely(train: ShardStream) -> None:
    overlap = find_overlap(train, train)
    assert len(overlap.key) == len(overlap.bytes) == overlap.leaked == 121
    assert not overlap.near


def test_corrupt_images_are_an_error_or_skipped(tmp_path: Path, train: ShardStream) -> None:
    good = encode_rgb(photo(2), "jpg")
    write(tmp_path / "shards", [("bad", b"\x89PNG\r\n\x1a\nrest"), ("good", good)])
    with pytest.raises(ShardError, match=r"00000\.tar.*'bad' at byte 512"):
        find_overlap(train, ShardStream(tmp_path / "shards"))
    skipping = ShardStream(tmp_path / "shards", on_error="skip")
    assert [pair.validation for pair in find_overlap(train, skipping).near] == ["good"]
    assert list(skipping.skipped) == ["bad"]


@given(st.integers(0, 2**32), st.integers(0, 15))
def test_the_search_equals_brute_force(seed: int, distance: int) -> None:
    """Queries are stored hashes with up to 20 flipped bits, spread over all bands."""
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 2**64, 50, dtype=np.uint64)
    order = np.argsort(rng.random((100, 64)), axis=1) < rng.integers(0, 21, (100, 1))
    flips = np.packbits(order, axis=1).view(np.uint64)[:, 0]
    queries = rng.choice(stored, 100) ^ flips
    bits = np.bitwise_count(queries[:, None] ^ stored[None])
    expected = np.where(bits.min(axis=1) <= distance, bits.argmin(axis=1), -1)
    assert nearest(queries, stored, distance).tolist() == expected.tolist()


def test_many_equal_hashes_need_little_memory() -> None:
    same = np.full(100_000, 12345, np.uint64)
    one_band = np.arange(5000, dtype=np.uint64) << np.uint64(16)  # all share three bands: 25 million candidates in each
    tracemalloc.start()
    try:
        assert (nearest(same, same, 6) == 0).all()
        assert (nearest(one_band, one_band, 0) == np.arange(5000)).all()
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_the_overlap_command_prints_text_and_json(
    train: ShardStream, validation: ShardStream, overlap: Overlap, jobs: Jobs
) -> None:
    ours, theirs = (str(Path(stream.index.tars[0].url).parent) for stream in (train, validation))
    result = jobs("overlap", ours, theirs)
    assert result.returncode == 1
    assert f"near duplicates, up to {DISTANCE} bits of 64 apart: 5" in result.stdout
    assert "same-bytes is like train0001 of train, 0 bits apart" in result.stdout
    assert result.stderr.startswith("error: 3 of 12 samples of ")
    result = jobs("overlap", ours, theirs + "/{00000..00001}.tar", "--json", "--distance", 2)
    expected = [pair._asdict() for pair in overlap.bytes[:1]]
    assert json.loads(result.stdout)["bytes"] == expected
    assert json.loads(result.stdout)["distance"] == 2


def test_near_duplicates_alone_are_not_an_error(train: ShardStream, tmp_path: Path, jobs: Jobs) -> None:
    write(tmp_path / "shards", [("near", PLANTED["smaller"])])
    result = jobs("overlap", Path(train.index.tars[0].url).parent, tmp_path / "shards")
    assert result.returncode == 0, result.stderr
    assert "near is like train0003 of train" in result.stdout


@needs_cifar10
def test_duplicates_in_cifar10_are_detected(tmp_path: Path) -> None:
    """About 3% of its test images have a duplicate in train, mostly cropped or moved (Barz and Denzler, 2020).

    The images of a detected pair must correlate.
    """
    images = {
        split: [image["bytes"] for image in pq.read_table(CIFAR10 / f"{split}.parquet")["img"].to_pylist()]
        for split in ("train", "test")
    }
    streams = [
        write(tmp_path / split, [(f"{split}{n:05d}", data) for n, data in enumerate(images[split])], per_shard=5000)
        for split in ("train", "test")
    ]
    overlap = find_overlap(*streams)
    assert not overlap.leaked
    assert not overlap.flat
    assert len(overlap.near) > 0.01 * len(images["test"])
    correlations = [
        correlation(images["test"][int(pair.validation[4:])], images["train"][int(pair.train[5:])])
        for pair in overlap.near
    ]
    assert np.mean(np.array(correlations) > 0.8) > 0.9
    assert len(fingerprint_images(streams[1]).perceptual) == 10_000


def correlation(*images: bytes) -> float:
    a, b = (decode_rgb(data).astype(np.float64).ravel() for data in images)
    return float(np.corrcoef(a, b)[0, 1])
