"""Mixed streams: exact fractions, an order that follows from the seed, and resuming."""

import json
import pickle
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Batch, Cosine, Linear, MixedStream, NotReal, ShardError, ShardStream, Source, Steps
from shards.mixing.schedule import Schedule
from tests.shards.folders import write

NAMES = {0: "cat", 1: "dog", 2: "owl"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("mixes")
    real = write(root / "real", "r", 21, False, classes=NAMES)
    return real, write(root / "synthetic", "s", 50, True, classes=NAMES)


def mix(folders: tuple[Path, Path], alpha: Any, **options: Any) -> MixedStream:
    real, synthetic = (ShardStream(folder, seed=options.get("seed", 0), threads=1) for folder in folders)
    return MixedStream(real, synthetic, alpha, **({"batch_size": 12} | options))


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.key]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.999, 1.0])
@pytest.mark.parametrize("batch_size", [1, 7, 12])
def test_alpha_is_exact_after_every_batch(folders: tuple[Path, Path], alpha: float, batch_size: int) -> None:
    stream, seen = mix(folders, alpha, batch_size=batch_size), 0
    for number, batch in enumerate(islice(stream, 100), 1):
        seen += int(batch.synthetic.sum())
        assert abs(seen - Fraction(str(alpha)) * batch_size * number) <= Fraction(1, 2)
        assert [key[0] == "s" for key in batch.key] == batch.synthetic.tolist() == batch.source.tolist()


@pytest.mark.parametrize(
    "schedule", [Linear(1.0, 0.0, over=40), Cosine(0.1, 0.9, over=25), Steps({0: 1.0, 10: 0.3, 30: 0.0})]
)
@pytest.mark.parametrize("batch_size", [1, 12])
def test_a_schedule_is_exact_after_every_batch(folders: tuple[Path, Path], schedule: Schedule, batch_size: int) -> None:
    seen, due = 0, Fraction(0)
    for number, batch in enumerate(islice(mix(folders, schedule, batch_size=batch_size), 60)):
        seen, due = seen + int(batch.synthetic.sum()), due + schedule.at(number) * batch_size
        assert abs(seen - due) <= Fraction(1, 2)


@given(
    st.fixed_dictionaries({name: st.sampled_from([0.0, 0.1, 0.35, 0.5, 0.9]) for name in NAMES.values()}),
    st.sampled_from([1, 8, 12]),
)
def test_alpha_by_class_is_exact_in_every_class(
    folders: tuple[Path, Path], alphas: dict[str, float], batch_size: int
) -> None:
    seen = {label: [0, 0] for label in NAMES}
    expected = {label: 7 / (1 - alphas[name]) for label, name in NAMES.items()}
    for number, batch in enumerate(islice(mix(folders, alphas, batch_size=batch_size), 30), 1):
        for label, synthetic in zip(batch.label.tolist(), batch.synthetic.tolist(), strict=True):
            seen[label][synthetic] += 1
        for label, name in NAMES.items():
            count = sum(seen[label])
            assert abs(seen[label][1] - Fraction(str(alphas[name])) * count) <= Fraction(1, 2)
            assert abs(count - number * batch_size * expected[label] / sum(expected.values())) < 1


def test_alpha_by_class_with_names_labels_rest_and_weights(folders: tuple[Path, Path]) -> None:
    stream = mix(folders, {"cat": 1.0, 1: 0.5, "*": 0.0}, class_weights={"cat": 2, "dog": 1, "owl": 1})
    counts = Counter(
        (label, synthetic)
        for batch in islice(stream, 10)
        for label, synthetic in zip(batch.label.tolist(), batch.synthetic.tolist(), strict=True)
    )
    assert counts == {(0, True): 60, (1, True): 15, (1, False): 15, (2, False): 30}


@pytest.mark.parametrize(
    ("alpha", "options", "words"),
    [
        ({"cat": 0.5}, {}, "has no value for class 'dog'"),
        ({"bird": 0.5, "*": 0.1}, {}, "class 'bird' is not in the streams"),
        ({"cat": 1.0, "*": 0.0}, {}, "class 'cat' has no real samples in the mix: set its share"),
        ({"*": 1.5}, {}, "from 0 to 1"),
        (0.5, {"class_weights": {"cat": 1}}, "need an alpha for each class"),
        (-0.1, {}, "from 0 to 1"),
        (1.5, {}, "from 0 to 1"),
        (0.5, {"batch_size": 0}, "batch_size=0 must be a positive multiple"),
        (0.5, {"batch_size": 10, "world_size": 3}, "batch_size=10 must be a positive multiple of world_size=3"),
        (0.5, {"rank": 2, "world_size": 2}, "rank=2 must be from 0 to 1"),
    ],
)
def test_impossible_mixes_are_refused(
    folders: tuple[Path, Path], alpha: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        mix(folders, alpha, **options)


def test_streams_must_match_their_side_and_alpha(folders: tuple[Path, Path]) -> None:
    real, synthetic = (ShardStream(folder) for folder in folders)
    with pytest.raises(ValueError, match="needs synthetic samples, and there are none"):
        MixedStream(real, None, 0.5, batch_size=4)
    with pytest.raises(ValueError, match="needs real samples"):
        MixedStream(None, synthetic, 0.5, batch_size=4)
    with pytest.raises(NotReal, match="is synthetic, but its stream was passed as real"):
        MixedStream(synthetic, real, 0.5, batch_size=4)
    with pytest.raises(ValueError, match="a mix needs a stream"):
        MixedStream(None, batch_size=4)
    assert next(iter(MixedStream(real, None, 0.0, batch_size=4))).key[0][0] == "r"
    assert next(iter(MixedStream(None, synthetic, 1.0, batch_size=4))).key[0][0] == "s"


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), st.sampled_from([None, 0.0, 0.4]), st.integers(1, 13))
def test_several_sources_come_by_their_weights(
    folders: tuple[Path, Path], weights: list[int], alpha: float | None, batch_size: int
) -> None:
    real = [Source(ShardStream(folders[0], seed=n, threads=1), weight) for n, weight in enumerate(weights)]
    synthetic = ShardStream(folders[1], threads=1) if alpha is not None else None
    stream = MixedStream(real, synthetic, alpha, batch_size=batch_size)
    counts = Counter(source for batch in islice(stream, 40) for source in batch.source.tolist())
    real_count = sum(counts[n] for n in range(len(weights)))
    assert abs(counts[len(weights)] - Fraction(str(alpha or 0)) * batch_size * 40) <= Fraction(1, 2)
    for number, weight in enumerate(weights):
        assert abs(counts[number] - Fraction(weight * real_count, sum(weights))) < 1.1


def test_without_weights_samples_come_equally_often(folders: tuple[Path, Path]) -> None:
    stream = MixedStream([ShardStream(folder) for folder in folders], batch_size=71)
    assert set(Counter(keys(list(islice(stream, 6)))).values()) == {6}


def test_each_source_is_read_in_order_without_gaps(folders: tuple[Path, Path]) -> None:
    batches = list(islice(mix(folders, 0.4, seed=3), 50))
    for kind, folder, size in (("r", folders[0], 21), ("s", folders[1], 50)):
        read = [key for key in keys(batches) if key[0] == kind]
        expected = ShardStream(folder, seed=3).read(range(len(read)))
        assert read == list(expected.key)
        assert len(read) > 2 * size


@given(st.integers(1, 60), st.integers(0, 40), st.sampled_from([1, 2, 3]), st.sampled_from([None, 1, 2]))
def test_a_single_source_comes_once_per_epoch(
    folders: tuple[Path, Path], batch_size: int, seed: int, epochs: int, window: int | None
) -> None:
    stream = MixedStream(ShardStream(folders[1], seed=seed, window=window, threads=1), batch_size=batch_size)
    read = keys(list(islice(stream, 50 * epochs // batch_size + 1)))
    for epoch in range(epochs):
        assert sorted(read[50 * epoch : 50 * (epoch + 1)]) == [f"s{n:04d}" for n in range(50)]


def finite_mix(folders: tuple[Path, Path], real: str, synthetic: str) -> MixedStream:
    sides = [
        Source(ShardStream(folder, threads=1), on_exhausted=action)  # type: ignore[arg-type]
        for folder, action in zip(folders, (real, synthetic), strict=True)
    ]
    return MixedStream(*sides, 0.5, batch_size=6)


def test_others_get_the_share_of_a_source_that_ended(folders: tuple[Path, Path]) -> None:
    counts = [batch.synthetic.sum() for batch in islice(finite_mix(folders, "repeat", "once"), 30)]
    assert counts[:17] == [3] * 16 + [2]
    assert not any(counts[17:])


def test_a_finite_mix_ends_with_the_last_whole_batch(folders: tuple[Path, Path]) -> None:
    stream = finite_mix(folders, "once", "once")
    batches = list(stream)
    assert len(batches) == 71 // 6
    assert set(Counter(keys(batches)).values()) == {1}
    assert stream.has_batch(10)
    assert not stream.has_batch(11)
    with pytest.raises(IndexError, match="has 11 batches"):
        stream.batch(11)
    assert stream.batch(3).key == batches[3].key


def test_an_exhausted_source_can_stop_the_mix(folders: tuple[Path, Path]) -> None:
    batches = list(finite_mix(folders, "stop", "repeat"))
    assert len(batches) == 7
    assert all(batch.synthetic.sum() == 3 for batch in batches)
    assert set(Counter(key for key in keys(batches) if key[0] == "r").values()) == {1}


def test_an_epoch_without_alpha_needs_only_real_streams(folders: tuple[Path, Path]) -> None:
    real, synthetic = (ShardStream(folder) for folder in folders)
    assert MixedStream(real, batch_size=12).batches_per_epoch() == 2
    with pytest.raises(ValueError, match="without alpha an epoch of real samples is undefined"):
        MixedStream(real, synthetic, batch_size=12).batches_per_epoch()


def test_an_epoch_fixes_the_real_or_the_total_count(folders: tuple[Path, Path]) -> None:
    assert mix(folders, 0.5).batches_per_epoch("real") == 4  # 42 samples
    assert mix(folders, 0.0).batches_per_epoch("real") == 2
    assert mix(folders, 0.5).batches_per_epoch("total") == 2
    for alpha, fixed in ((1.0, "real"), (Linear(0.0, 1.0, over=5), "real")):
        with pytest.raises(ValueError, match="set the number of batches"):
            mix(folders, alpha).batches_per_epoch(fixed)  # type: ignore[arg-type]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("alpha", [0.3, {"*": 0.3}])
def test_global_batches_are_equal_for_any_world_size(folders: tuple[Path, Path], world_size: int, alpha: Any) -> None:
    alone = list(islice(mix(folders, alpha), 20))
    ranks = [list(islice(mix(folders, alpha, rank=r, world_size=world_size), 20)) for r in range(world_size)]
    for number, batch in enumerate(alone):
        together = [""] * 12
        for rank, batches in enumerate(ranks):
            assert len(batches[number]) == 12 // world_size
            together[rank::world_size] = batches[number].key
        assert together == list(batch.key)


@given(
    st.integers(0, 60),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0.0, 0.35, 1.0, Linear(0.0, 1.0, over=20), {"cat": 0.9, "*": 0.2}]),
)
def test_resuming_continues_the_same_sequence(
    folders: tuple[Path, Path], stop: int, world_size: int, alpha: float | Schedule | Mapping[Any, float]
) -> None:
    whole = mix(folders, alpha, world_size=world_size)
    expected = keys(list(islice(whole, stop + 3)))[12 // world_size * stop :]
    first = mix(folders, alpha)
    for _ in islice(iter(first), stop):
        pass
    state = json.loads(json.dumps(first.state_dict()))
    second = mix(folders, alpha, world_size=world_size)
    second.load_state_dict(state)
    assert keys(list(islice(second, 3))) == expected


class CustomSchedule:
    """A schedule of a user, without a __repr__."""

    def at(self, batch: int) -> Fraction:
        return Fraction(1, 2 + batch)


def test_the_state_of_another_mix_is_refused(folders: tuple[Path, Path]) -> None:
    state = mix(folders, 0.5).state_dict()
    assert len(json.dumps(state)) < 100
    mix(folders, 0.5, rank=1, world_size=2).load_state_dict(state)
    mix(folders, 0.5).load_state_dict({"batch": 7})
    for other in (
        mix(folders, 0.4),
        mix(folders, 0.5, seed=1),
        mix(folders, 0.5, batch_size=24),
        mix(folders, {"*": 0.5}),
        mix(folders, {"*": 0.5}, class_weights={"cat": 2, "dog": 1, "owl": 1}),
    ):
        with pytest.raises(ShardError, match="this state is of another mix"):
            other.load_state_dict(state)
    weighted = mix(folders, {"*": 0.5}, class_weights={"cat": 1, "dog": 1, "owl": 1}).state_dict()
    with pytest.raises(ShardError, match="this state is of another mix"):
        mix(folders, {"*": 0.5}, class_weights={"cat": 2, "dog": 1, "owl": 1}).load_state_dict(weighted)
    mix(folders, CustomSchedule()).load_state_dict(mix(folders, CustomSchedule()).state_dict())
    chosen = MixedStream(ShardStream(folders[0], select=["r0001"]), ShardStream(folders[1]), 0.5, batch_size=12)
    with pytest.raises(ShardError, match="another mix"):
        chosen.load_state_dict(state)


def test_a_mixed_stream_can_be_pickled(folders: tuple[Path, Path]) -> None:
    for alpha in (0.5, Linear(0.0, 1.0, over=9), {"*": 0.5}):
        stream = mix(folders, alpha)
        expected = stream.batch(3).key
        assert pickle.loads(pickle.dumps(stream)).batch(3).key == expected


def test_labels_that_mean_other_classes_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path, "s", 12, True, classes={0: "dog", 1: "cat", 2: "owl"})
    nameless = ShardStream(write(tmp_path / "nameless", "n", 3, False))
    with pytest.raises(ShardError, match="label 0 is 'cat' in one stream and 'dog' in another"):
        MixedStream(ShardStream(folders[0]), ShardStream(other), 0.5, batch_size=4)
    moved = write(tmp_path / "moved", "t", 3, True, classes={0: "fox", 1: "cat", 2: "hen"})
    with pytest.raises(ShardError, match="label 0 is 'dog' in one stream and 'fox' in another"):
        MixedStream(nameless, [ShardStream(other), ShardStream(moved)], 0.5, batch_size=4)
    aligned = [ShardStream(folder, classes=list(NAMES.values())) for folder in (folders[0], other)]
    for batch in islice(MixedStream(*aligned, 0.5, batch_size=6), 4):
        swapped = np.array([1, 0, 2])
        own = batch.image[:, 0, 0, 0] % 3
        assert (batch.label == np.where(batch.synthetic, swapped[own], own)).all()
