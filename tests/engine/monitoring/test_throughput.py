"""The throughput of a run, from the times at which its units ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.monitoring.throughput import FinishedUnit, recent_units, throughput


@given(
    actors=st.integers(1, 300),
    took=st.floats(0.5, 2000),
    units=st.integers(4, 20),
    into=st.floats(0, 0.99),
    apart=st.floats(0, 1),
    images=st.integers(1, 1000),
)
def test_it_is_the_sum_over_all_actors(
    actors: int, took: float, units: int, into: float, apart: float, images: int
) -> None:
    """`apart` is the delay between the first and the last actor, as a fraction of a unit. At 0, units end in bursts."""
    until = took * (units + into + apart)
    ends = [
        at
        for actor in range(actors)
        for unit in range(units + 2)
        if (at := took * (unit + 1 + apart * actor / actors)) <= until
    ]
    units_ended = [FinishedUnit(at, took, images, images + 3) for at in sorted(ends)]
    assert throughput(units_ended, until).images == pytest.approx(actors * images / took, rel=0.3)
    assert throughput(units_ended, until).slots == pytest.approx(actors * (images + 3) / took, rel=0.3)
    assert throughput(recent_units(units_ended, until), until) == pytest.approx(throughput(units_ended, until)), (
        "forgetting older units does not change the throughput"
    )


def test_it_follows_changes_and_falls_if_nothing_ends() -> None:
    slow = [FinishedUnit(100.0 * unit, 100.0, 10, 10) for unit in range(1, 11)]
    fast = [FinishedUnit(1000 + 10.0 * unit, 10.0, 10, 10) for unit in range(1, 101)]
    assert throughput(slow, 1000).images == pytest.approx(0.1)
    assert throughput([*slow, *fast], 2000).images == pytest.approx(1.0, rel=0.05)
    assert throughput(slow, 1400).images == pytest.approx(0.05)
    assert throughput(slow, 9000) == (0.0, 0.0)
    assert throughput([], 5) == (0.0, 0.0)
