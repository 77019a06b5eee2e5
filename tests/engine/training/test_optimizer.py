"""Learning rates as functions of the step number; one_cycle equals torch's schedule."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.config.train_spec import TrainSpec
from engine.training.optimizer import learning_rate


@given(st.integers(3, 60), st.floats(0.1, 0.9))
def test_one_cycle_is_that_of_torch(steps: int, rise: float) -> None:
    assume(
        rise * steps > 1.01
    )  # torch divides by zero if the warm-up has one step, and never lowers the rate below that
    spec = TrainSpec(warmup=rise, learning_rate=0.01)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=steps, pct_start=rise, cycle_momentum=False
    )
    for step in range(steps):
        assert learning_rate(spec, step, steps) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


@given(
    st.sampled_from(["one_cycle", "linear", "cosine", "constant"]),
    st.integers(1, 200),
    st.one_of(st.none(), st.floats(0, 1)),
)
def test_a_rate_is_above_zero_and_never_above_the_highest(schedule: str, steps: int, warmup: float | None) -> None:
    spec = TrainSpec(schedule=schedule, learning_rate=0.5, warmup=warmup)
    for step in range(steps):
        assert 0 < learning_rate(spec, step, steps) <= 0.5


def test_linear_falls_in_equal_parts_after_a_rise() -> None:
    spec = TrainSpec(schedule="linear", learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(spec, step, 10) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
