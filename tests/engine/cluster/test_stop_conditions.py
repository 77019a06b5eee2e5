"""The conditions that stop the assignment of units, and the error that each one ends the run with."""

import pytest

from engine.cluster.stopping import StopConditions
from engine.errors import BudgetSpent, OutputError, Stopped

FULL = OutputError("/run/shards: No space left on device")


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (StopConditions(), ""),
        (StopConditions(interrupted=True), "press Ctrl-C again to stop at once"),
        (StopConditions(output_error=FULL, interrupted=True), "/run/shards: No space left on device"),
        (StopConditions(budget="budget.gpu_hours=2 is spent", output_error=FULL), "budget.gpu_hours=2 is spent"),
    ],
)
def test_the_reason_that_is_logged(conditions: StopConditions, reason: str) -> None:
    assert conditions.reason == reason


@pytest.mark.parametrize(
    ("conditions", "units_left", "kind"),
    [
        (StopConditions(), 0, None),
        (StopConditions(interrupted=True), 0, None),
        (StopConditions(interrupted=True), 2, Stopped),
        (StopConditions(budget="budget.gpu_hours=2 is spent"), 0, None),
        (StopConditions(budget="budget.gpu_hours=2 is spent", interrupted=True), 2, BudgetSpent),
        (StopConditions(budget="budget.gpu_hours=2 is spent", output_error=FULL), 2, OutputError),
        (StopConditions(output_error=FULL), 0, OutputError),
    ],
)
def test_the_error_of_a_run_that_ends_early(conditions: StopConditions, units_left: int, kind: type | None) -> None:
    assert type(conditions.error(units_left)) is (kind or type(None))
