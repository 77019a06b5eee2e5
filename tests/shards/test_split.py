"""Sharing out places: every source its exact share, whatever the others do."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.mixing.error_diffusion import Ended, Fixed, Leaf, Split
from shards.mixing.schedule import Cosine, Halves, Linear, Steps

shares = st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any)


@given(st.lists(shares, min_size=1, max_size=6), st.lists(st.integers(1, 300), min_size=1, max_size=40), st.data())
def test_no_source_is_a_sample_off_its_share(plans: list[list[int]], counts: list[int], data: st.DataObject) -> None:
    width = min(len(plan) for plan in plans)
    plans = [plan[:width] if any(plan[:width]) else [1] * width for plan in plans]
    leaves, due = [Leaf() for _ in range(width)], [Fraction(0)] * width
    split = Split(leaves, lambda batch: plans[batch % len(plans)])
    for batch, count in enumerate(counts):
        before = [leaf.drawn for leaf in leaves]
        split.take(count, batch)
        plan = plans[batch % len(plans)]
        due = [owed + Fraction(share * count, sum(plan)) for owed, share in zip(due, plan, strict=True)]
        drawn = [leaf.drawn for leaf in leaves]
        assert sum(drawn) == sum(counts[: batch + 1])
        assert all(now >= then for now, then in zip(drawn, before, strict=True))
        behind = sum(Fraction(1, k) for k in range(2, width + 1))
        for leaf, owed in zip(leaves, due, strict=True):
            assert leaf.drawn - owed < 1
            assert owed - leaf.drawn <= behind
            assert width > 2 or abs(owed - leaf.drawn) <= Fraction(1, 2)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=5), shares, st.integers(1, 20))
def test_who_runs_out_leaves_the_share_to_the_others(limits: list[int], plan: list[int], count: int) -> None:
    width = min(len(limits), len(plan))
    plan = plan[:width] if any(plan[:width]) else [1] * width
    leaves = [Leaf(limit) for limit in limits[:width]]
    split = Split(leaves, Fixed([Fraction(one) for one in plan]))
    while (left := split.left()) is not None and left >= count:
        split.take(count, 0)
        assert all(leaf.drawn <= limit for leaf, limit in zip(leaves, limits, strict=False))
    assert sum(leaf.drawn for leaf in leaves) == sum(limits[:width]) // count * count
    split.reset()
    assert [leaf.drawn for leaf in leaves] == [0] * width


def test_a_last_leaf_ends_everything() -> None:
    split = Split([Leaf(), Leaf(5, last=True)], Fixed([Fraction(1), Fraction(1)]))
    for batch in range(5):
        split.take(2, batch)
    with pytest.raises(Ended):
        split.take(2, 5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Linear(1.0, 0.0, over=10), [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0]),
        (Linear(0.2, 0.6, over=2), [0.2, 0.4, 0.6, 0.6]),
        (Cosine(1.0, 0.0, over=4), [1.0, 0.853553391, 0.5, 0.146446609, 0.0, 0.0]),
        (Steps({0: 1.0, 2: 0.25, 3: 0.0}), [1.0, 1.0, 0.25, 0.0, 0.0]),
    ],
)
def test_schedules(schedule: Linear | Cosine | Steps, expected: list[float]) -> None:
    assert [float(schedule.at(batch)) for batch in range(len(expected))] == pytest.approx(expected)
    for batch, alpha in enumerate(expected):
        real, synthetic = Halves(schedule)(batch)
        assert synthetic / (real + synthetic) == pytest.approx(alpha)


@pytest.mark.parametrize("wrong", [Linear(1.5, 0.0, over=3), Steps({0: -0.1})])
def test_an_alpha_outside_of_its_range_is_refused(wrong: Linear | Steps) -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        Halves(wrong)(0)
    with pytest.raises(ValueError, match="from batch 0 on"):
        Steps({5: 0.5})


@pytest.mark.parametrize("ramp", [Linear, Cosine])
def test_a_ramp_over_no_batch_is_refused(ramp: type[Linear | Cosine]) -> None:
    with pytest.raises(ValueError, match="over=0 must be a number of batches"):
        ramp(1.0, 0.0, over=0)
