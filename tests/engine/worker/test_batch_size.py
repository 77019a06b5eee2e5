"""The batch size that a measurement chooses: what is tried, what is taken, and that a run keeps it."""

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


class Ticking(FakeGenerator):
    """A generator that takes `base + each * batch` seconds of its own clock for a batch; the first takes longer."""

    def __init__(self, batch_size: int, base: float, each: float) -> None:
        super().__init__(batch_size)
        self.now, self._took = 0.0, base + each * batch_size

    def clock(self) -> float:
        return self.now

    def generate(self, requests: Sequence[Request]) -> Images:
        self.now += self._took if self.asked else 100 * self._took
        return super().generate(requests)


def recipe_of(folder: Path, *overrides: str) -> RunContext:
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

    found = dict(measure(rate, bound, lambda: 0.0))
    assert list(found) == SIZES[: len(found)]
    assert max(found) <= bound
    fitting = {size: one for size, one in found.items() if one is not None}
    assert set(found) - set(fitting) <= {max(found)}, "nothing is tried beyond what did not fit"
    paid = [after >= 1.05 * before for before, after in pairwise(fitting.values())]
    assert all(paid[:-2]), "on such a device doubling pays until it does not, which two sizes show"
    # No size that was left out could have been much faster: it would not fit, or the device is busy all the time.
    limit = [size for size in SIZES if size <= min(bound, room)]
    best = max(size / (base + each * size) for size in limit)
    assert fitting[choose(found)] * 1.05**2 * (1 + 1e-9) >= best


def test_one_disturbed_size_does_not_end_it() -> None:
    rates = {1: 10.0, 2: 20.0, 4: 20.0, 8: 80.0, 16: 81.0, 32: 79.0, 64: 400.0}
    found = dict(measure(rates.__getitem__, 256, lambda: 0.0))
    assert list(found) == [1, 2, 4, 8, 16, 32]
    assert choose(found) == 8


def test_two_minutes_are_the_end() -> None:
    now = iter([0.0, 50.0, 119.0, 121.0])
    assert list(dict(measure(float, 256, lambda: next(now)))) == [1, 2, 4]


@pytest.mark.parametrize(("unit", "lost"), [(36, 36 / 36), (30, 30 / 32), (5, 5 / 8)])
def test_the_rate_of_a_whole_unit_counts_its_padding(unit: int, lost: float, tmp_path: Path) -> None:
    context = recipe_of(tmp_path, f"output.samples_per_shard={unit}")
    generator = Ticking(4, base=0.2, each=0.05)
    assert unit_rate(context, generator, generator.clock) == pytest.approx(4 / 0.4 * lost)
    assert len(generator.asked) == 4 * 5, "one warms up, one is ahead, and three take a second"
    assert generator.asked[:4] == [context.request(context.plan.slot(n), 0) for n in range(4)]


def test_requests_of_two_shapes_are_not_mixed(tmp_path: Path) -> None:
    class Ragged(Ticking):
        def batch_key(self, request: Request) -> int:
            return request.label

    generator = Ragged(16, base=1.0, each=0.0)
    assert unit_rate(recipe_of(tmp_path), generator, generator.clock) == 6.0


def test_the_whole_measurement_finds_where_a_device_is_busy(tmp_path: Path) -> None:
    context = recipe_of(tmp_path, "output.samples_per_shard=300", "plan.per_class=1000")

    def rate(size: int) -> float:
        generator = Ticking(size, base=0.1, each=0.1)
        return unit_rate(context, generator, generator.clock)

    assert largest(context.plan) == 256
    found = dict(measure(rate, largest(context.plan), lambda: 0.0))
    # 300 images are 19 batches of 16, which make 304, but 10 of 32 and 5 of 64, which make 320.
    assert list(found) == [1, 2, 4, 8, 16, 32, 64]
    assert found[16] > max(found[32], found[64])
    assert choose(found) == 16


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
    given = load_spec(spec, ["model.batch_size=4"])
    assert run.context.plan == plan_run(given).plan, "the run of a spec that names this number"
    again = plan_run(pin_spec(load_spec(spec), open_store(place)), place)
    assert begin_run(again, place).pending() == [1, 2, 3, 4, 5]
    with pytest.raises(RunMismatch, match=r"model\.batch_size: 4 -> 8"):
        begin_run(plan_run(load_spec(spec, ["model.batch_size=8"]), place), place)
    with pytest.raises(RunMismatch, match=r"model\.batch_size: 4 -> 2"):
        begin_run(plan_run(load_spec(spec)).with_batch_size(2), place)


def test_what_was_measured_is_kept_for_people(tmp_path: Path) -> None:
    found = BatchSizes("some GPU, bf16", {1: 2.5, 2: 4.75, 4: None})
    found.write(open_store(tmp_path))
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
