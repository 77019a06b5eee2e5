"""Streams of shards: the samples that they read, and the inputs that they refuse."""

from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Batch, NotReal, Sample, ShardError, ShardStream, ShardWriter
from shards.codec import decode_rgb, encode_rgb, fit_rgb
from shards.storage.open_store import open_store
from tests.shards.folders import write

NAMES = {0: "cat", 1: "dog", 2: "owl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stream"), "s", 50, True, classes=NAMES, mask=True)


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.key]


def test_an_epoch_holds_every_sample_with_its_own_label(folder: Path) -> None:
    stream = ShardStream(folder, seed=5)
    for epoch in range(3):
        batch = stream.read(range(50 * epoch, 50 * (epoch + 1)))
        numbers = [int(key[1:]) for key in batch.key]
        assert sorted(numbers) == list(range(50))
        assert numbers != list(range(50))
        assert batch.label.tolist() == [number % 3 for number in numbers]
        assert batch.image[:, 0, 0, 0].tolist() == numbers
        assert batch.synthetic.all()
    assert stream.read(range(50)).key == ShardStream(folder, seed=5).read(range(50)).key
    assert stream.read(range(50)).key != ShardStream(folder, seed=6).read(range(50)).key
    assert stream.read(range(50)).key != stream.read(range(50, 100)).key


def test_without_shuffle_the_order_is_that_on_disk(folder: Path) -> None:
    stream = ShardStream(folder, shuffle=False)
    assert keys(list(stream.batches(8))) == [f"s{i:04d}" for i in range(50)]
    assert [item.key for item in stream] == [f"s{i:04d}" for i in range(50)]


@given(st.integers(1, 60), st.integers(1, 8))
def test_ranks_share_all_samples_in_equal_batch_counts(folder: Path, size: int, world_size: int) -> None:
    stream = ShardStream(folder, shuffle=False, threads=1)
    ranks = [list(stream.batches(size, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {-(-50 // size)}
    assert sorted(key for batches in ranks for key in keys(batches)) == [f"s{i:04d}" for i in range(50)]
    assert all(len(batch.image) == len(batch.label) == len(batch.key) for rank in ranks for batch in rank)


def test_a_real_only_stream_refuses_a_synthetic_sample(folder: Path) -> None:
    with pytest.raises(NotReal, match=r"00000\.tar: sample 's0000' is synthetic"):
        ShardStream(folder, real_only=True)
    with pytest.raises(NotReal):  # the metadata in the shards override the argument of the reader
        ShardStream(folder, real_only=True, synthetic=False)


def test_masks_and_fields_belong_to_their_image(folder: Path) -> None:
    stream = ShardStream(folder, seed=2, mask=True, fields=["prompt", "class_name", "txt", "nothing"])
    for batch in stream.batches(16):
        numbers = [int(key[1:]) for key in batch.key]
        assert batch.mask is not None
        assert batch.mask.shape == (len(batch), 4, 4)
        assert batch.mask[:, 1, 2].tolist() == numbers
        assert batch.fields["prompt"] == batch.fields["txt"] == [f"number {number}" for number in numbers]
        assert batch.fields["class_name"] == [NAMES[number % 3] for number in numbers]
        assert batch.fields["nothing"] == [None] * len(batch)
    item = stream[3]
    assert item.mask is not None
    assert (item.image[0, 0, 0], item.mask[0, 0]) == (int(item.key[1:]), int(item.key[1:]))
    assert item.fields["prompt"] == f"number {int(item.key[1:])}"


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_images_are_scaled_and_cropped_to_a_given_size(tmp_path: Path, format: str) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (20 + 3 * n, 31, 3), np.uint8) for n in range(6)]
    with ShardWriter(tmp_path, "00000") as writer:
        for n, image in enumerate(images):
            meta = {"key": f"k{n}", "label": n, "synthetic": False, "prompt": ""}
            writer.add(Sample(f"k{n}", encode_rgb(image, format), format, n, meta))
        files = writer.publish()
    open_store(tmp_path).publish_json("00000_stats.json", {"count": 6, "files": [file.as_json() for file in files]})
    with pytest.raises(ShardError, match=r"different sizes, \(20, 31\) and \(23, 31\): open the stream with size="):
        ShardStream(tmp_path, shuffle=False).read(range(6))
    batch = ShardStream(tmp_path, shuffle=False, size=16).read(range(6))
    assert batch.image.shape == (6, 16, 16, 3)
    for n, image in enumerate(images):
        decoded = decode_rgb(encode_rgb(image, format))
        assert (batch.image[n] == fit_rgb(decoded, 16, 16)).all()
        assert (ShardStream(tmp_path, shuffle=False)[n].image == decoded).all()
    assert ShardStream(tmp_path, size=(10, 12)).read([0]).image.shape == (1, 10, 12, 3)


def test_hashes_are_checked_on_request(folder: Path, tmp_path: Path) -> None:
    assert len(ShardStream(folder, check_hashes=True).read(range(50))) == 50
    write(tmp_path, "r", 8, False)
    tar = bytearray((tmp_path / "00000.tar").read_bytes())
    tar[100] ^= 1  # a header's mode: no image and no label suffers
    (tmp_path / "00000.tar").write_bytes(tar)
    assert len(ShardStream(tmp_path).read(range(8))) == 8
    with pytest.raises(ShardError, match=r"00000\.tar.*SHA-256"):
        ShardStream(tmp_path, check_hashes=True).read(range(8))
    swapped = pq.read_table(tmp_path / "00000.parquet")
    labels = pa.array(swapped["label"].to_pylist()[::-1])
    pq.write_table(swapped.set_column(swapped.column_names.index("label"), "label", labels), tmp_path / "00000.parquet")
    with pytest.raises(ShardError, match=r"00000\.parquet: SHA-256 is .*, and its stats file says"):
        ShardStream(tmp_path, check_hashes=True)
    (tmp_path / "00000_stats.json").unlink()
    with pytest.raises(ShardError, match=r"00000_stats\.json.*cannot be checked"):
        ShardStream(tmp_path, check_hashes=True).read(range(8))


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.reading.sample_reader._MAX_MAPS", 3)
    write(tmp_path, "r", 60, False, per_shard=2)
    stream = ShardStream(tmp_path, seed=1, threads=2)
    for batch in islice(stream.batches(7), 8):
        assert batch.image[:, 0, 0, 0].tolist() == [int(key[1:]) for key in batch.key]


@pytest.mark.parametrize("wrong", [{"fields": "prompt"}, {"on_error": "ignore"}])
def test_unknown_options_are_refused(folder: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be a list"):
        ShardStream(folder, **wrong)  # type: ignore[arg-type]
