"""Schedules: their values, and the values that they refuse."""

import pytest

from shards import Constant, Cosine, Linear, Steps
from shards.mixing.schedule import ScheduledShares


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(0.1), [0.1, 0.1]),
        (Linear(1.0, 0.0, over=10), [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0]),
        (Linear(0.2, 0.6, over=2), [0.2, 0.4, 0.6, 0.6]),
        (Cosine(1.0, 0.0, over=4), [1.0, 0.853553391, 0.5, 0.146446609, 0.0, 0.0]),
        (Steps({0: 1.0, 2: 0.25, 3: 0.0}), [1.0, 1.0, 0.25, 0.0, 0.0]),
    ],
)
def test_alpha_and_shares_by_batch(schedule: Constant | Linear | Cosine | Steps, expected: list[float]) -> None:
    assert [float(schedule.at(batch)) for batch in range(len(expected))] == pytest.approx(expected)
    for batch, alpha in enumerate(expected):
        real, synthetic = ScheduledShares(schedule)(batch)
        assert synthetic / (real + synthetic) == pytest.approx(alpha)


@pytest.mark.parametrize("schedule", [Linear(1.5, 0.0, over=3), Steps({0: -0.1})])
def test_alpha_out_of_range_is_refused(schedule: Linear | Steps) -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        ScheduledShares(schedule)(0)


def test_steps_without_batch_0_are_refused() -> None:
    with pytest.raises(ValueError, match="from batch 0 on"):
        Steps({5: 0.5})


@pytest.mark.parametrize("ramp", [Linear, Cosine])
def test_a_ramp_over_no_batch_is_refused(ramp: type[Linear | Cosine]) -> None:
    with pytest.raises(ValueError, match="over=0 must be a number of batches"):
        ramp(1.0, 0.0, over=0)
