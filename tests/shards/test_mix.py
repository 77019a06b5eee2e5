"""Streams and mixes: exact, ordered, resumable, and never synthetic where only real ones are allowed."""

import json
import pickle
from collections import Counter
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from shards import Batch, MixedStream, NotReal, Sample, ShardError, ShardStream, ShardWriter
from shards.codec import encode_rgb
from shards.commit import publish_json
from shards.loader import ShardDataset
from shards.order import EpochOrder


def write(folder: Path, prefix: str, count: int, synthetic: bool, per_shard: int = 8) -> Path:
    """Shards of images whose every pixel is their own number."""
    for start in range(0, count, per_shard):
        name = f"{start // per_shard:05d}"
        with ShardWriter(folder, name) as writer:
            for number in range(start, min(start + per_shard, count)):
                image = encode_rgb(np.full((4, 4, 3), number, np.uint8), "png")
                key = f"{prefix}{number:04d}"
                meta = {"key": key, "label": number % 3, "synthetic": synthetic, "prompt": ""}
                writer.add(Sample(key, image, "png", number % 3, meta))
            files = writer.publish()
        publish_json(folder / f"{name}_stats.json", {"count": 0, "files": [one.as_json() for one in files]})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("streams")
    return write(root / "real", "r", 21, False), write(root / "synthetic", "s", 50, True)


def mix(folders: tuple[Path, Path], alpha: float, **more: int) -> MixedStream:
    real, synthetic = (ShardStream(folder, seed=more.get("seed", 0)) for folder in folders)
    return MixedStream(real, synthetic, alpha, **({"batch_size": 12} | more))


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.key]


def test_every_sample_once_per_epoch_with_its_own_label_and_pixels(folders: tuple[Path, Path]) -> None:
    stream = ShardStream(folders[1], seed=5)
    for epoch in range(3):
        batch = stream.read(range(50 * epoch, 50 * (epoch + 1)))
        numbers = [int(key[1:]) for key in batch.key]
        assert sorted(numbers) == list(range(50))
        assert numbers != list(range(50))
        assert batch.label.tolist() == [number % 3 for number in numbers]
        assert batch.image[:, 0, 0, 0].tolist() == numbers
        assert batch.synthetic.all()
    assert stream.read(range(50)).key == ShardStream(folders[1], seed=5).read(range(50)).key
    assert stream.read(range(50)).key != ShardStream(folders[1], seed=6).read(range(50)).key
    assert stream.read(range(50)).key != stream.read(range(50, 100)).key


def test_without_shuffling_the_order_is_that_on_disk(folders: tuple[Path, Path]) -> None:
    stream = ShardStream(folders[0], shuffle=False, real_only=True)
    assert keys(list(stream.batches(8))) == [f"r{i:04d}" for i in range(21)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(folders: tuple[Path, Path], threads: int) -> None:
    expected = ShardStream(folders[1], seed=5).read(range(50))
    found = ShardStream(folders[1], seed=5, threads=threads).read(range(50))
    assert found.key == expected.key
    assert (found.image == expected.image).all()
    assert ShardStream(folders[1], threads=threads).read([7]).image.shape == (1, 4, 4, 3)


def test_shuffles_are_uniform_enough() -> None:
    firsts = Counter(EpochOrder(4, seed, True).at(0) for seed in range(4000))
    assert max(abs(count - 1000) for count in firsts.values()) < 150


def test_a_real_only_stream_refuses_a_synthetic_sample(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NotReal, match=r"00000\.tar: sample 's0000' is synthetic"):
        ShardStream(folders[1], real_only=True)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.999, 1.0])
@pytest.mark.parametrize("batch_size", [1, 7, 12])
def test_alpha_is_exact_over_every_global_batch(folders: tuple[Path, Path], alpha: float, batch_size: int) -> None:
    stream, seen = mix(folders, alpha, batch_size=batch_size), 0
    for number, batch in enumerate(islice(stream, 100), 1):
        seen += int(batch.synthetic.sum())
        assert abs(seen - Fraction(str(alpha)) * batch_size * number) <= Fraction(1, 2)
        assert [key[0] == "s" for key in batch.key] == batch.synthetic.tolist()


@given(st.fractions(0, 1, max_denominator=1000), st.integers(1, 4096), st.integers(0, 10**9))
def test_alpha_never_drifts(alpha: Fraction, batch_size: int, batch: int) -> None:
    stream = MixedStream.__new__(MixedStream)
    stream.alpha, stream.batch_size = alpha, batch_size
    before, after = stream.synthetic_before(batch), stream.synthetic_before(batch + 1)
    assert abs(before - alpha * batch_size * batch) <= Fraction(1, 2)
    assert 0 <= after - before <= batch_size


def test_each_source_is_read_in_its_own_order_without_gaps(folders: tuple[Path, Path]) -> None:
    batches = list(islice(mix(folders, 0.4, seed=3), 50))
    for kind, folder, size in (("r", folders[0], 21), ("s", folders[1], 50)):
        found = [key for key in keys(batches) if key[0] == kind]
        expected = ShardStream(folder, seed=3).read(range(len(found)))
        assert found == list(expected.key)
        assert len(found) > 2 * size


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 12])
def test_the_global_order_is_the_same_for_every_world_size(folders: tuple[Path, Path], world_size: int) -> None:
    alone = list(islice(mix(folders, 0.3), 20))
    ranks = [list(islice(mix(folders, 0.3, rank=r, world_size=world_size), 20)) for r in range(world_size)]
    for number, batch in enumerate(alone):
        together = [""] * 12
        for rank, found in enumerate(ranks):
            assert len(found[number]) == 12 // world_size
            together[rank::world_size] = found[number].key
        assert together == list(batch.key)


@given(st.integers(0, 60), st.sampled_from([1, 2, 4]), st.sampled_from([0.0, 0.35, 1.0]))
def test_resuming_equals_never_having_stopped(
    folders: tuple[Path, Path], stop: int, world_size: int, alpha: float
) -> None:
    whole = mix(folders, alpha, world_size=world_size)
    expected = keys([whole.batch(number) for number in range(stop, stop + 3)])
    first = mix(folders, alpha)
    first.load_state_dict({"batch": stop})
    state = json.loads(json.dumps(first.state_dict()))
    second = mix(folders, alpha, world_size=world_size)
    second.load_state_dict(state)
    assert keys(list(islice(second, 3))) == expected


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_dataset_gives_the_same_batches_with_any_number_of_workers(
    folders: tuple[Path, Path], workers: int
) -> None:
    expected = list(islice(mix(folders, 0.5), 7))
    dataset = ShardDataset(mix(folders, 0.5), steps=7)
    found = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert [one["key"] for one in found] == [list(batch.key) for batch in expected]
    for one, batch in zip(found, expected, strict=True):
        assert one["image"].shape == (12, 3, 4, 4)
        assert (one["image"][:, 0, 0, 0].numpy() == batch.image[:, 0, 0, 0]).all()
        assert one["label"].tolist() == batch.label.tolist()
        assert one["synthetic"].tolist() == batch.synthetic.tolist()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_worker_has_threads_of_its_own(folders: tuple[Path, Path]) -> None:
    stream = MixedStream(ShardStream(folders[0], threads=2), None, 0.0, batch_size=8)
    expected = stream.batch(0).key  # starts the threads of this process
    (found,) = DataLoader(ShardDataset(stream, steps=1), batch_size=None, num_workers=1, timeout=60)
    assert tuple(found["key"]) == expected


@pytest.mark.parametrize(
    ("alpha", "more", "word"),
    [
        (-0.1, {}, "alpha"),
        (1.5, {}, "alpha"),
        (0.5, {"batch_size": 0}, "batch of 0"),
        (0.5, {"batch_size": 10, "world_size": 3}, "equal part"),
        (0.5, {"rank": 2, "world_size": 2}, "rank 2"),
    ],
)
def test_impossible_mixes_are_refused(
    folders: tuple[Path, Path], alpha: float, more: dict[str, int], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        mix(folders, alpha, **more)


def test_a_stream_that_alpha_needs_must_be_given(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="synthetic stream"):
        MixedStream(ShardStream(folders[0]), None, 0.5, batch_size=4)
    assert next(iter(MixedStream(ShardStream(folders[0]), None, 0.0, batch_size=4))).key[0][0] == "r"


def test_a_stream_survives_pickling(folders: tuple[Path, Path]) -> None:
    stream = mix(folders, 0.5)
    expected = stream.batch(3).key
    assert pickle.loads(pickle.dumps(stream)).batch(3).key == expected


def test_damage_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, "r", 8, False)
    tar = folder / "00000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[: len(data) // 2])
    with pytest.raises(ShardError, match=r"00000\.tar, sample 'r000\d' at byte \d+: .*run verify"):
        ShardStream(folder).read(range(8))
    tar.write_bytes(b"")
    with pytest.raises(ShardError, match=r"00000\.tar"):
        ShardStream(folder).read(range(8))
    with pytest.raises(ShardError, match="no finished shard"):
        ShardStream(tmp_path / "nothing")
