"""Several units on one device: a later unit uses idle device time, and no unit influences another."""

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.generators.generator import Images, Request
from engine.run.run_context import RunContext
from engine.worker import runner as module
from engine.worker.attempts import first_attempts
from engine.worker.runner import Runner, run_unit
from engine.worker.unit_builder import WrittenUnit
from shards.storage.commit import sha256_of
from tests.engine.fakes import CountingGenerator, FakeGenerator
from tests.engine.worker.test_runner import make_context

PATIENCE_S = 60.0


def offer_all(runner: Runner, context: RunContext) -> list[Future[WrittenUnit]]:
    return [runner.offer(first_attempts(context, number)) for number in range(context.plan.n_units)]


def units_of(context: RunContext, requests: Sequence[Request], size: int) -> list[int]:
    """Return the unit number of each batch."""
    seeds = {
        context.plan.seed_of(slot, attempt): slot.unit
        for slot in map(context.plan.slot, range(context.plan.total))
        for attempt in range(context.spec.plan.max_attempts)
    }
    return [seeds[request.seed] for request in requests[::size]]


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 17)), st.integers(3, 9), st.integers(1, 5))
def test_units_that_share_a_device_equal_units_made_alone(bad: set[int], per_shard: int, size: int) -> None:
    """The result does not depend on the rejected images or on the timing of verdicts."""
    context = make_context(per_shard=per_shard, max_attempts=2)
    rejected = {context.plan.seed_of(context.plan.slot(index), 0) for index in bad}
    rejected |= {context.plan.seed_of(context.plan.slot(index), 1) for index in bad if index % 2}

    def generator() -> FakeGenerator:
        return FakeGenerator(size, blank=lambda request: request.seed in rejected)

    with TemporaryDirectory() as name:
        alone, shared = Path(name, "alone"), Path(name, "shared")
        for number in range(context.plan.n_units):
            run_unit(context, number, generator(), alone)
        with Runner(context, generator(), shared) as runner:
            units = offer_all(runner, context)
            runner.run()
        for unit in units:
            unit.result().publish()
        shards = [
            f"{context.plan.shard_name(number)}.{kind}" for number in range(len(units)) for kind in ("tar", "parquet")
        ]
        assert [sha256_of(shared / name) for name in shards] == [sha256_of(alone / name) for name in shards]


class GatedGenerator(FakeGenerator):
    """A generator that calls `before` with the number of each batch before it makes the batch."""

    def __init__(
        self, before: Callable[[int], None], batch_size: int = 4, **options: Callable[[Request], bool]
    ) -> None:
        super().__init__(batch_size, **options)
        self._before = before

    def generate(self, requests: Sequence[Request]) -> Images:
        self._before(len(self.requests) // self.batch_size)
        return super().generate(requests)


def test_the_next_unit_has_the_device_while_verdicts_are_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(per_shard=9)  # three batches
    retried = {context.plan.seed_of(context.plan.slot(index), 0) for index in (0, 8)}
    verdict, settled = threading.Event(), threading.Event()
    judge = module.attempt_result

    def slow(*arguments: object) -> object:
        attempt = arguments[1]
        if attempt.slot.index == 8 and attempt.number == 0:  # type: ignore[attr-defined]
            assert verdict.wait(PATIENCE_S), "the device waits for the verdict on an image"
        return judge(*arguments)  # type: ignore[arg-type]

    def before(batch: int) -> None:
        if batch == 3:  # the first batch of the second unit
            verdict.set()
            while not runner._units[0].has_batch:
                time.sleep(1e-3)
            settled.set()

    monkeypatch.setattr(module, "attempt_result", slow)
    generator = GatedGenerator(before, blank=lambda request: request.seed in retried)
    with Runner(context, generator, tmp_path) as runner:
        units = offer_all(runner, context)
        runner.run()
    assert settled.is_set()
    assert units_of(context, generator.requests, 4) == [0, 0, 0, 1, 0, 1, 1]
    assert [unit.result().publish()["count"] for unit in units] == [9, 9]


def test_a_unit_can_be_recalled_until_it_is_begun(tmp_path: Path) -> None:
    context = make_context(per_shard=6)
    runner = Runner(
        context, GatedGenerator(lambda batch: cancelled.append([unit.cancel() for unit in units])), tmp_path
    )
    cancelled: list[list[bool]] = []
    with runner:
        units = offer_all(runner, context)
        runner.run()
    assert cancelled[0] == [False, True, True]
    assert units[0].result().publish()["count"] == 6
    with pytest.raises(CancelledError):
        units[1].result()


def test_a_failed_unit_leaves_others_and_nothing_of_its_own(tmp_path: Path) -> None:
    context = make_context(per_shard=6)
    seeds = [context.plan.seed_of(context.plan.slot(index), 0) for index in (5, 10)]

    def explode(request: Request) -> bool:
        if request.seed in seeds:
            raise ValueError(f"no {seeds.index(request.seed)}")
        return False

    with Runner(context, FakeGenerator(2, blank=explode), tmp_path) as runner:
        units = offer_all(runner, context)
        runner.run()
    assert [str(unit.exception()) for unit in units] == ["no 0", "no 1", "None"]
    units[2].result().publish()
    assert not list((tmp_path / ".staging").iterdir())
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["00002.tar"]


def test_after_out_of_memory_units_restart_in_smaller_batches(tmp_path: Path) -> None:
    """The error may come when the batch is launched, or when its pixels are awaited."""

    class ImagesOutOfMemory(Images):
        def images(self) -> Images:
            raise RuntimeError("CUDA error: out of memory")

    context = make_context(per_shard=9)
    for place, late in ((tmp_path / "at once", False), (tmp_path / "late", True)):
        loaded: list[FakeGenerator] = []

        def load(size: int, late: bool = late, loaded: list[FakeGenerator] = loaded) -> FakeGenerator:
            def before(batch: int) -> None:
                if size == 4 and batch == 2 and not late:
                    raise RuntimeError("CUDA error: out of memory")

            class TightGenerator(GatedGenerator):
                def generate(self, requests: Sequence[Request]) -> Images:
                    images = super().generate(requests)
                    too_large = late and size == 4 and len(self.requests) > 2 * size
                    return ImagesOutOfMemory(images.pixels) if too_large else images

            loaded.append(TightGenerator(before, size))
            return loaded[-1]

        with Runner(context, load(4), place / "tight", load) as runner:
            units = offer_all(runner, context)
            runner.run()
        sizes = [unit.result().publish()["batch_size"] for unit in units]
        assert [generator.batch_size for generator in loaded] == [4, 2], "the batch size is halved once"
        assert sizes == [2, 2]
        assert not list((place / "tight/.staging").iterdir())
        for number in range(2):
            run_unit(context, number, FakeGenerator(2), place / "small")
        for name in ("00000.tar", "00001.tar"):
            assert sha256_of(place / "tight" / name) == sha256_of(place / "small" / name)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("first", [8, 2])
def test_a_model_is_freed_before_the_next_one_is_loaded(tmp_path: Path, first: int, late: bool) -> None:
    loaded: list[weakref.ref[FakeGenerator]] = []

    class ImagesOutOfMemory(Images):
        def images(self) -> Images:
            raise RuntimeError("CUDA error: out of memory")

    class CyclicGenerator(FakeGenerator):
        """A generator with a reference cycle, like a pipeline whose methods are wrapped."""

        def __init__(self, size: int) -> None:
            super().__init__(size)
            self.itself = self

        def generate(self, requests: Sequence[Request]) -> Images:
            images = super().generate(requests)
            if self.batch_size < first:
                return images
            return ImagesOutOfMemory(images.pixels) if late else ImagesOutOfMemory(images.pixels).images()

    def load(size: int) -> FakeGenerator:
        if any(reference() is not None for reference in loaded):
            raise RuntimeError("CUDA out of memory: two models")
        generator = CyclicGenerator(size)
        loaded.append(weakref.ref(generator))
        return generator

    context = make_context(per_shard=9)
    with Runner(context, load(first), tmp_path, load) as runner:
        units = offer_all(runner, context)
        runner.run()
    assert [unit.result().publish()["batch_size"] for unit in units] == [first // 2] * 2


def test_a_generator_that_fails_to_reload_fails_all_units(tmp_path: Path) -> None:
    def load(size: int) -> FakeGenerator:
        raise OSError("the weights are gone")

    def full(batch: int) -> None:
        raise RuntimeError("CUDA error: out of memory")

    context = make_context(per_shard=9)
    with Runner(context, GatedGenerator(full), tmp_path, load) as runner:
        units = offer_all(runner, context)
        runner.run()
    assert [str(unit.exception()) for unit in units] == ["the weights are gone"] * 2


def test_an_interrupted_device_leaves_nobody_waiting(tmp_path: Path) -> None:
    moments = iter([False, False, True])

    def interrupted(batch: int) -> None:
        if next(moments, False):
            raise KeyboardInterrupt

    context = make_context(per_shard=9)
    with Runner(context, GatedGenerator(interrupted), tmp_path) as runner:
        units = offer_all(runner, context)
        with pytest.raises(KeyboardInterrupt):
            runner.run()
        again = runner.offer(first_attempts(context, 0))
        runner.run()
    assert again.result().publish()["count"] == 9
    assert [type(unit.exception()) for unit in units] == [KeyboardInterrupt] * 2
    assert not list((tmp_path / ".staging").iterdir())


def test_two_batches_are_in_memory_at_most_across_units(tmp_path: Path) -> None:
    context, generator = make_context(per_shard=3), CountingGenerator(2)
    with Runner(context, generator, tmp_path) as runner:
        units = offer_all(runner, context)
        runner.run()
    for unit in units:
        unit.result().publish()
    assert len(generator.alive) == 12
    assert max(generator.alive) <= 3, "two batches and the one that was just made"


def test_device_seconds_of_units_do_not_overlap(tmp_path: Path) -> None:
    class SlowGenerator(FakeGenerator):
        def generate(self, requests: Sequence[Request]) -> Images:
            time.sleep(5e-3)
            return super().generate(requests)

    context = make_context(per_shard=3)
    with Runner(context, SlowGenerator(2), tmp_path) as runner:
        units = offer_all(runner, context)
        began = time.perf_counter()
        runner.run()
        ended = time.perf_counter()
    spans = sorted(
        (span for unit in units for span in unit.result().timeline.timer("device").spans), key=lambda span: span.start
    )
    assert all(earlier.end <= later.start for earlier, later in pairwise(spans))
    assert {span.stage for span in spans} == {"denoise", "wait"}
    had = sum(unit.result().publish()["duration_s"] for unit in units)
    assert had == pytest.approx(sum(span.seconds for span in spans), abs=5e-3)
    assert began <= spans[0].start <= spans[-1].end <= ended


def test_a_unit_offered_while_the_device_waits_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(per_shard=9)
    released, judge = threading.Event(), module.attempt_result

    def slow(*arguments: object) -> object:
        assert released.wait(PATIENCE_S), "the second unit waits for the first"
        return judge(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "attempt_result", slow)
    batches: list[int] = []
    with Runner(
        context, GatedGenerator(lambda batch: released.set() if batch == 1 else batches.append(batch), 9), tmp_path
    ) as runner:
        first = runner.offer(first_attempts(context, 0))
        device = threading.Thread(target=runner.run)
        device.start()
        while not batches:
            time.sleep(1e-3)
        with suppress(TimeoutError):
            first.result(0.05)  # its only batch is made, but not judged yet
        second = runner.offer(first_attempts(context, 1))
        assert [unit.result(PATIENCE_S).publish()["count"] for unit in (first, second)] == [9, 9]
        device.join(PATIENCE_S)
    assert not device.is_alive()
