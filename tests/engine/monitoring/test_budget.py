"""The cost of a run, and the budget that ends it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.spec import Spec
from engine.config.spec_file import load_spec
from engine.errors import SpecError
from engine.monitoring.budget import NO_COST, Cost, CostMeter
from engine.run.run import begin_run, plan_run
from tests.engine import small_run

ON_TWO_GPUS = ("cluster.gpus_per_actor=2", "budget.gpu_hours=3", "budget.price_per_gpu_hour=1.5")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def spec(tmp_path: Path, *overrides: str) -> Spec:
    path = tmp_path / "spec.yaml"
    path.write_text(small_run.TEXT, encoding="utf-8")
    return load_spec(path, overrides)


@pytest.fixture(scope="module")
def dear(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return spec(tmp_path_factory.mktemp("spec"), *ON_TWO_GPUS)


def cost_of(spec: Spec, seconds: float) -> Cost:
    return NO_COST.plus(spec, seconds)


def test_hours_and_dollars_follow_from_devices(tmp_path: Path, dear: Spec) -> None:
    assert str(cost_of(dear, 1800)) == "1.00 GPU hours, $1.50"
    half = spec(tmp_path, "cluster.gpus_per_actor=0.5")
    assert str(cost_of(half, 7200)) == "1.00 GPU hours"
    cpu = spec(tmp_path, "budget.price_per_gpu_hour=0.25")
    assert str(cost_of(cpu, 7200)) == "2.00 actor hours, $0.50"
    assert cost_of(cpu, 7200).as_json() == {"actor_hours": 2.0, "dollars": 0.5}


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1000)), max_size=30), st.lists(st.floats(0, 500), max_size=5))
def test_a_meter_sums_actor_time_for_any_number_of_ticks(
    dear: Spec, held: list[tuple[int, float]], durations: list[float]
) -> None:
    clock = Clock()
    meter, seconds = CostMeter(dear, ({"duration_s": duration} for duration in durations), clock=clock), sum(durations)
    for actors, time in held:
        before = meter.cost.hours
        meter.tick(actors)
        for _ in range(3):
            clock.now += time / 3
            meter.tick(actors)
        seconds += actors * time
        assert meter.cost.hours >= before
        assert (meter.exhausted() is not None) == (meter.cost.hours >= 3)
    assert meter.cost.hours == pytest.approx(2 * seconds / 3600)


def test_a_spent_budget_gives_the_cost_and_the_remedy(tmp_path: Path, dear: Spec) -> None:
    clock = Clock()
    meter = CostMeter(dear, [{"duration_s": 5000.0}], clock=clock)
    assert meter.exhausted() is None
    meter.tick(4)
    clock.now += 100
    meter.tick(0)
    assert meter.exhausted() == (
        "budget.gpu_hours 3 is spent (3.00 GPU hours, $4.50); raise it and run the same command again to continue"
    )
    poor = spec(tmp_path, "budget.dollars=0.01", "budget.price_per_gpu_hour=36")
    assert CostMeter(poor, []).exhausted() is None
    reason = CostMeter(poor, [{"duration_s": 1.5}]).exhausted()
    assert reason is not None
    assert reason.startswith("budget.dollars 0.01 is spent (0.00 actor hours, $0.02)")
    assert CostMeter(spec(tmp_path), [{"duration_s": 1e9}]).exhausted() is None


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("budget.dollars=5", "budget: dollars needs price_per_gpu_hour"),
        ("budget.gpu_hours=0", "budget.gpu_hours: 0 is refused; "),
        ("budget.gpu_hour=1", "budget.gpu_hour: unknown key; did you mean 'gpu_hours'?"),
    ],
)
def test_a_wrong_budget_is_refused(override: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, override)
    assert part in str(caught.value)


def test_a_larger_budget_continues_the_same_run(tmp_path: Path) -> None:
    begun = small_run.make(small_run.begin(tmp_path, "budget.gpu_hours=1"), 0)
    larger = load_spec(tmp_path / "given.yaml", ["budget.gpu_hours=2"])
    again = begin_run(plan_run(larger), tmp_path / "run")
    assert again.context.plan.digest == begun.context.plan.digest
    assert again.pending() == [1, 2, 3, 4, 5]
    assert load_spec(tmp_path / "run/spec.yaml").budget.gpu_hours == 2
