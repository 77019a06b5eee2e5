"""Error diffusion: every source gets its exact share of the positions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.mixing.error_diffusion import ErrorDiffuser, FixedShares, SampleCounter, SourceExhausted

share_lists = st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any)


@given(st.lists(share_lists, min_size=1, max_size=6), st.lists(st.integers(1, 300), min_size=1, max_size=40), st.data())
def test_no_source_is_a_sample_off_its_share(plans: list[list[int]], counts: list[int], data: st.DataObject) -> None:
    width = min(len(plan) for plan in plans)
    plans = [plan[:width] if any(plan[:width]) else [1] * width for plan in plans]
    counters, due = [SampleCounter() for _ in range(width)], [Fraction(0)] * width
    diffuser = ErrorDiffuser(counters, lambda batch: plans[batch % len(plans)])
    for batch, count in enumerate(counts):
        before = [counter.drawn for counter in counters]
        diffuser.allocate(count, batch)
        plan = plans[batch % len(plans)]
        due = [amount + Fraction(share * count, sum(plan)) for amount, share in zip(due, plan, strict=True)]
        drawn = [counter.drawn for counter in counters]
        assert sum(drawn) == sum(counts[: batch + 1])
        assert all(after >= earlier for after, earlier in zip(drawn, before, strict=True))
        most_behind = sum(Fraction(1, k) for k in range(2, width + 1))
        for amount, expected in zip(drawn, due, strict=True):
            assert amount - expected < 1
            assert expected - amount <= most_behind
            assert width > 2 or abs(expected - amount) <= Fraction(1, 2)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=5), share_lists, st.integers(1, 20))
def test_others_get_the_share_of_an_exhausted_source(limits: list[int], plan: list[int], count: int) -> None:
    width = min(len(limits), len(plan))
    plan = plan[:width] if any(plan[:width]) else [1] * width
    counters = [SampleCounter(limit) for limit in limits[:width]]
    diffuser = ErrorDiffuser(counters, FixedShares([Fraction(share) for share in plan]))
    while (remaining := diffuser.remaining()) is not None and remaining >= count:
        diffuser.allocate(count, 0)
        assert all(counter.drawn <= limit for counter, limit in zip(counters, limits, strict=False))
    assert sum(counter.drawn for counter in counters) == sum(limits[:width]) // count * count
    diffuser.reset()
    assert [counter.drawn for counter in counters] == [0] * width


def test_a_source_that_ends_the_mix_raises_when_exhausted() -> None:
    counters = [SampleCounter(), SampleCounter(5, ends_mix=True)]
    diffuser = ErrorDiffuser(counters, FixedShares([Fraction(1), Fraction(1)]))
    for batch in range(5):
        diffuser.allocate(2, batch)
    with pytest.raises(SourceExhausted):
        diffuser.allocate(2, 5)
