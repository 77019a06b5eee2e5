"""The order of samples: each sample once per epoch, few shards at a time, from (seed, epoch) alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.reading.epoch_order import EpochOrder, EpochSamples, RandomPurpose, permutation


def samples(sizes: list[int], weight: list[float] | None = None) -> EpochSamples:
    """Return the samples of shards of these sizes, numbered from 100."""
    shard = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    rows = np.arange(len(shard)) + 100
    return EpochSamples(rows, shard, len(sizes), None if weight is None else np.array(weight))


sizes = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any)
windows = st.none() | st.integers(1, 14)


@given(sizes, windows, st.booleans(), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_every_sample_comes_once_per_epoch(
    sizes: list[int], window: int | None, shuffle: bool, seed: int, epoch: int
) -> None:
    order = EpochOrder(samples(sizes), seed, shuffle, window)
    count = sum(sizes)
    rows = order.at(range(epoch * count, (epoch + 1) * count))
    assert sorted(rows.tolist()) == list(range(100, 100 + count))
    assert shuffle or rows.tolist() == sorted(rows.tolist())
    again = EpochOrder(samples(sizes), seed, shuffle, window)
    assert [int(again.at([epoch * count + i])[0]) for i in range(count)] == rows.tolist()


@given(sizes, st.integers(1, 14), st.booleans(), st.integers(0, 100), st.integers(0, 3))
def test_a_window_needs_only_its_own_shards(
    sizes: list[int], window: int, shuffle: bool, seed: int, epoch: int
) -> None:
    epoch_samples = samples(sizes)
    order = EpochOrder(epoch_samples, seed, shuffle, window)
    shard_of = dict(zip(epoch_samples.rows.tolist(), epoch_samples.shard.tolist(), strict=True))
    start, seen = 0, []
    for part in order.windows(epoch):
        rows = order.epoch(epoch)[start : part.end].tolist()
        assert {shard_of[row] for row in rows} == set(part.shards)
        assert len(part.shards) <= window
        start, seen = part.end, seen + list(part.shards)
    assert start == len(order)
    assert sorted(seen) == sorted(set(epoch_samples.shard.tolist()))


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=40).filter(lambda weights: sum(weights) >= 1),
    windows,
    st.integers(0, 1000),
)
def test_a_weight_is_kept_to_within_one_per_epoch(weights: list[float], window: int | None, epoch: int) -> None:
    order = EpochOrder(samples([len(weights)], weights), 3, True, window)
    counts = Counter((order.epoch(epoch) - 100).tolist())
    assert sum(counts.values()) == len(order) == round(sum(weights))
    stretched = len(order) / sum(weights)
    for place, weight in enumerate(weights):
        assert abs(counts[place] - weight * stretched) < 1 + 1e-9


def test_weights_hold_on_average() -> None:
    order = EpochOrder(samples([4], [0.25, 2.5, 0.0, 1.25]), 3, True, None)
    counts = Counter(row for epoch in range(2000) for row in (order.epoch(epoch) - 100).tolist())
    for place, weight in enumerate((0.25, 2.5, 0.0, 1.25)):
        assert counts[place] / 2000 == pytest.approx(weight, abs=0.05)


@pytest.mark.parametrize("window", [None, 2])
def test_every_order_is_equally_likely(window: int | None) -> None:
    counts = Counter(
        tuple((EpochOrder(samples([1, 1, 1, 1]), seed, True, window).epoch(0) - 100).tolist()) for seed in range(12000)
    )
    assert len(counts) == 24
    assert max(abs(count - 500) for count in counts.values()) < 110  # five standard deviations


@pytest.mark.parametrize("window", [1, 4, 10, 40])
def test_pairs_of_a_batch_share_a_shard_as_documented(window: int) -> None:
    epoch_samples = samples([50] * 40)
    order = EpochOrder(epoch_samples, 0, True, window).epoch(0)
    batches = epoch_samples.shard[order - 100].reshape(-1, 25)
    pairs = [(row[:, None] == row[None, :]).sum() - len(row) for row in batches]
    share = sum(pairs) / (len(batches) * 25 * 24)
    assert share == pytest.approx(1 / window, rel=0.1)


def test_every_seed_and_epoch_has_its_own_order() -> None:
    large = [tuple(permutation(50, RandomPurpose.EPOCH, 2**63 + seed, 0)) for seed in (0, 1, 512, 2**63 - 1)]
    assert len(set(large)) == 4
    orders = {
        tuple(EpochOrder(samples([40]), seed, True, None).epoch(e).tolist()) for seed in range(5) for e in range(5)
    }
    assert len(orders) == 25
