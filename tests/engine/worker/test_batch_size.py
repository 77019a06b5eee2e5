"""Measured batch sizes: the sizes that are tried, the choice, and the run that keeps it."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.spec_file import load_spec
from engine.errors import RunMismatch, SpecError
from engine.generators.generator import Images, Request
from engine.run.run import Run, begin_run, load_run, pin_spec, plan_run
from engine.run.run_context import RunContext
from engine.worker.batch_size import BatchSizes, choose, largest, measure, unit_rate
from shards.storage.open_store import open_store
from tests.engine import small_run
from tests.engine.fakes import FakeGenerator

SIZES = [2**n for n in range(9)]
positive = st.floats(1e-3, 1e6)


class TickingGenerator(FakeGenerator):
    """A generator that takes `base + each * batch` seconds of its own clock for a batch; the first takes longer."""

    def __init__(self, batch_size: int, base: float, each: float) -> None:
        super().__init__(batch_size)
        self.now, self._took = 0.0, base + each * batch_size

    def clock(self) -> float:
        return self.now

    def generate(self, requests: Sequence[Request]) -> Images:
        self.now += self._took if self.requests else 100 * self._took
        return super().generate(requests)


def make_context(folder: Path, *overrides: str) -> RunContext:
    path = folder / "spec.yaml"
    path.write_text(small_run.TEXT, encoding="utf-8")
    return plan_run(load_spec(path, overrides))


@given(st.dictionaries(st.sampled_from(SIZES), positive | st.none(), min_size=1).filter(lambda r: any(r.values())))
def test_the_smallest_size_within_five_percent_is_chosen(rates: Mapping[int, float | None]) -> None:
    chosen = rates[choose(rates)]
    fastest = max(rate for rate in rates.values() if rate is not None)
    assert chosen is not None
    assert chosen * 1.05 >= fastest
    smaller = [rate for size, rate in rates.items() if rate is not None and size < choose(rates)]
    assert all(rate * 1.05 < fastest for rate in smaller)


@given(base=positive, each=positive, bound=st.integers(1, 300), room=st.integers(1, 300))
def test_sizes_are_doubled_as_long_as_that_pays(base: float, each: float, bound: int, room: int) -> None:
    def rate(size: int) -> float | None:
        return size / (base + each * size) if size <= room else None

    measured = dict(measure(rate, bound, lambda: 0.0))
    assert list(measured) == SIZES[: len(measured)]
    assert max(measured) <= bound
    fitting = {size: speed for size, speed in measured.items() if speed is not None}
    assert set(measured) - set(fitting) <= {max(measured)}, "no size beyond the first that does not fit is tried"
    paid = [after >= 1.05 * before for before, after in pairwise(fitting.values())]
    assert all(paid[:-2]), "the measurement ends after two sizes without a gain"
    # No untried size is much faster: it does not fit, or the device is already busy all the time.
    limit = [size for size in SIZES if size <= min(bound, room)]
    best = max(size / (base + each * size) for size in limit)
    assert fitting[choose(measured)] * 1.05**2 * (1 + 1e-9) >= best


def test_one_slow_size_does_not_end_the_measurement() -> None:
    rates = {1: 10.0, 2: 20.0, 4: 20.0, 8: 80.0, 16: 81.0, 32: 79.0, 64: 400.0}
    measured = dict(measure(rates.__getitem__, 256, lambda: 0.0))
    assert list(measured) == [1, 2, 4, 8, 16, 32]
    assert choose(measured) == 8


def test_measuring_stops_after_two_minutes() -> None:
    now = iter([0.0, 50.0, 119.0, 121.0])
    assert list(dict(measure(float, 256, lambda: next(now)))) == [1, 2, 4]


@pytest.mark.parametrize(("unit", "lost"), [(36, 36 / 36), (30, 30 / 32), (5, 5 / 8)])
def test_the_rate_of_a_whole_unit_counts_its_padding(unit: int, lost: float, tmp_path: Path) -> None:
    context = make_context(tmp_path, f"output.samples_per_shard={unit}")
    generator = TickingGenerator(4, base=0.2, each=0.05)
    assert unit_rate(context, generator, generator.clock) == pytest.approx(4 / 0.4 * lost)
    assert len(generator.requests) == 4 * 5, "one batch warms up, one is launched ahead, and three take a second"
    assert generator.requests[:4] == [context.request(context.plan.slot(n), 0) for n in range(4)]


def test_requests_of_two_shapes_are_not_mixed(tmp_path: Path) -> None:
    class RaggedGenerator(TickingGenerator):
        def batch_key(self, request: Request) -> int:
            return request.label

    generator = RaggedGenerator(16, base=1.0, each=0.0)
    assert unit_rate(make_context(tmp_path), generator, generator.clock) == 6.0


def test_the_whole_measurement_finds_where_a_device_is_busy(tmp_path: Path) -> None:
    context = make_context(tmp_path, "output.samples_per_shard=300", "plan.per_class=1000")

    def rate(size: int) -> float:
        generator = TickingGenerator(size, base=0.1, each=0.1)
        return unit_rate(context, generator, generator.clock)

    assert largest(context.plan) == 256
    measured = dict(measure(rate, largest(context.plan), lambda: 0.0))
    # 300 images are 19 batches of 16 (304 images), but 10 of 32 or 5 of 64 (320 images).
    assert list(measured) == [1, 2, 4, 8, 16, 32, 64]
    assert measured[16] > max(measured[32], measured[64])
    assert choose(measured) == 16


def auto(folder: Path) -> Path:
    path = folder / "auto.yaml"
    path.write_text(small_run.TEXT.replace("batch_size: 4", "batch_size: auto"), encoding="utf-8")
    return path


def begin(spec: Path, place: Path, size: int) -> Run:
    return begin_run(plan_run(pin_spec(load_spec(spec), open_store(place))).with_batch_size(size), place)


def test_a_run_keeps_the_number(tmp_path: Path) -> None:
    spec, place = auto(tmp_path), tmp_path / "run"
    with pytest.raises(SpecError, match=r"model\.batch_size: auto is measured when `generate` begins a run"):
        begin_run(plan_run(load_spec(spec)), place)
    assert not place.exists()

    run = begin(spec, place, 4)
    small_run.make(run, 0)
    assert load_run(place).context.spec.model.batch_size == 4
    spec_with_size = load_spec(spec, ["model.batch_size=4"])
    assert run.context.plan == plan_run(spec_with_size).plan, "the plan equals that of a spec with this batch size"
    again = plan_run(pin_spec(load_spec(spec), open_store(place)), place)
    assert begin_run(again, place).pending() == [1, 2, 3, 4, 5]
    with pytest.raises(RunMismatch, match=r"model\.batch_size: 4 -> 8"):
        begin_run(plan_run(load_spec(spec, ["model.batch_size=8"]), place), place)
    with pytest.raises(RunMismatch, match=r"model\.batch_size: 4 -> 2"):
        begin_run(plan_run(load_spec(spec)).with_batch_size(2), place)


def test_measured_rates_are_written_as_json(tmp_path: Path) -> None:
    sizes = BatchSizes("some GPU, bf16", {1: 2.5, 2: 4.75, 4: None})
    sizes.write(open_store(tmp_path))
    assert json.loads((tmp_path / "batch_size.json").read_text()) == {
        "batch_size": 2,
        "device": "some GPU, bf16",
        "images_per_second": {"1": 2.5, "2": 4.75, "4": None},
    }


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "2.5", "null", "true"])
def test_both_choices_are_named(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(auto(tmp_path), [f"model.batch_size={wrong}"])
    text = str(caught.value)
    assert "'auto'" in text
    assert "integer" in text or "greater than or equal to 1" in text
    assert text.count("model.batch_size: ") == len(text.splitlines()) <= 2
