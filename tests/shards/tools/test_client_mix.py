"""Mixes for other clients: exact shares, approximate shares of whole shards, and refused mixes."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import ShardError
from shards.tools.client_mix import ClientMix, ClientSource, open_client_mix
from tests.shards.folders import write

LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=20)


def source(lengths: Sequence[int]) -> ClientSource:
    return ClientSource([f"/data/{i:05d}.tar" for i in range(len(lengths))], lengths, lengths, 0, True)


@given(LENGTHS, LENGTHS, st.integers(1, 999))
def test_shares_are_exact(real: list[int], synthetic: list[int], permille: int) -> None:
    alpha = Fraction(permille, 1000)
    mix = ClientMix([source(real), source(synthetic)], [1 - alpha, alpha])
    counts = [repeats * each.samples for repeats, each in zip(mix.repeats, mix.sources, strict=True)]
    assert counts[1] / sum(counts) == alpha
    assert min(mix.repeats) == 1


@given(LENGTHS, LENGTHS, st.integers(1, 999))
def test_whole_shards_come_nearest_to_the_shares(real: list[int], synthetic: list[int], permille: int) -> None:
    alpha = Fraction(permille, 1000)
    mix = ClientMix([source(real), source(synthetic)], [1 - alpha, alpha])
    for each, exact, (repeats, extra) in zip(mix.sources, mix.repeats, mix.shard_repeats(), strict=True):
        error = repeats * each.samples + sum(each.lengths[:extra]) - exact * each.samples
        assert repeats >= 1
        assert abs(error) <= max(each.lengths) / 2


def test_shards_are_counted_with_their_captions(tmp_path: Path) -> None:
    real, synthetic = write(tmp_path / "real", "r", 10, False), write(tmp_path / "synthetic", "s", 4, True)
    mix = open_client_mix(str(real), str(synthetic), 0.1)
    assert [list(each.lengths) for each in mix.sources] == [[8, 2], [4]]
    assert [list(each.captioned) for each in mix.sources] == [[8, 2], [4]]
    assert all(each.labelled and not each.empty_captions for each in mix.sources)
    assert mix.shares == [Fraction(9, 10), Fraction(1, 10)]


@pytest.mark.parametrize("alpha", [None, 0.0, 1.0, 1.5])
def test_an_alpha_out_of_range_is_refused(alpha: float | None) -> None:
    with pytest.raises(ShardError, match="between 0 and 1"):
        open_client_mix("real", "synthetic", alpha)


def test_an_alpha_for_one_source_is_refused() -> None:
    with pytest.raises(ShardError, match="name these shards too"):
        open_client_mix("real", None, 0.5)
