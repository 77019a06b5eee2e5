"""The core loop: it makes units on one device, from slots to finished shards, without Ray.

While one batch denoises, threads judge, encode and write the batch before. While the last results of a unit are
pending, and while it is published, the next unit has the device. The order of batches changes no image: the content of
a unit and its order follow from the plan and the verdicts alone.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event, Semaphore
from typing import Self

from engine.filters.filter import Verdict, judge
from engine.generators.generator import Generator, PendingImages, Request
from engine.models.devices import free_memory, is_out_of_memory
from engine.profiling import Span
from engine.run.run_context import RunContext
from engine.types import Slot
from engine.worker.attempts import (
    Attempt,
    AttemptResult,
    attempt_at,
    attempt_result,
    batches,
    first_attempts,
    padded_requests,
)
from engine.worker.unit_builder import UnitBuilder, WrittenUnit
from shards.sample import Sample
from shards.stats import Stats
from shards.storage.store import StoreLike

_MIN_ENCODERS = 2
_BATCHES_IN_MEMORY = 2


def run_unit(context: RunContext, number: int, generator: Generator, shards: StoreLike) -> Stats:
    """Make unit `number` and publish it; return its stats, or those of another worker that finished it first.

    Raises ShardError, which is a CommitConflict where the other worker's bytes differ, SlotFailed, and whatever the
    generator raises. After an error nothing of the unit is published.
    """
    with Runner(context, generator, shards) as runner:
        unit = runner.offer(first_attempts(context, number))
        runner.run()
        return unit.result().publish()


class Runner:
    """A device and the threads of its host. Any thread offers units; the device's thread calls `run`.

    Units run first in, first out. A later unit uses the device only while the earlier one has no batch ready.

    load: returns the generator for another batch size. With it, a batch that does not fit into the device's memory
          makes all unfinished units start again in batches of half the size, which later units keep.
    """

    def __init__(
        self,
        context: RunContext,
        generator: Generator,
        shards: StoreLike,
        load: Callable[[int], Generator] | None = None,
    ) -> None:
        self._context, self._shards, self._load = context, shards, load
        self._generator: Generator | None = generator
        self.batch_size = generator.batch_size
        self._offered: deque[tuple[Sequence[Attempt], Future[WrittenUnit]]] = deque()
        self._units: list[UnitBuilder] = []
        self._n_encoders = max(_MIN_ENCODERS, context.spec.cluster.cpus_per_actor)
        self._encoders = ThreadPoolExecutor(self._n_encoders, "encode")
        self._writer = ThreadPoolExecutor(1, "write")
        self._batch_slots, self._wakeup = Semaphore(_BATCHES_IN_MEMORY), Event()
        self._device_free_since, self._oom = 0.0, False

    @property
    def generator(self) -> Generator:
        """The generator for batches of the present size. For the device's thread only. Raises ModelError."""
        if self._generator is None:
            assert self._load is not None, "only a runner with `load` is resized"
            self._generator = self._load(self.batch_size)
        return self._generator

    def resize(self, batch_size: int) -> None:
        """Use another batch size from now on. For the device's thread only, and only with `load`."""
        # The whole generator is loaded again when it is needed: it also encodes texts in batches of this size.
        self.batch_size, self._generator = batch_size, None
        free_memory()

    def offer(self, attempts: Sequence[Attempt]) -> Future[WrittenUnit]:
        """Add a unit, given by its first attempts. The returned future can be cancelled until the unit starts."""
        done = Future[WrittenUnit]()
        self._offered.append((attempts, done))
        self._wakeup.set()
        return done

    def run(self) -> None:
        """Make all units that are offered before the last one is finished. Each unit's future gets its end."""
        try:
            self._run()
        except BaseException as error:
            for unit in self._unfinished_when_settled():
                unit.discard()
                unit.done.set_exception(error)
            while self._offered:
                with suppress(InvalidStateError):  # the unit was cancelled
                    self._offered.popleft()[1].set_exception(error)
            raise

    def _run(self) -> None:
        while True:
            self._wakeup.clear()
            self._units = self._unfinished()
            if self._oom:
                self._restart_with_half_batches()
            if unit := next((unit for unit in self._units if unit.has_batch), None):
                self._make_batch(unit)
            elif self._offered:
                self._start_unit()
            elif self._units:
                self._wakeup.wait()
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._encoders.shutdown()
        self._writer.shutdown()

    def _unfinished(self) -> list[UnitBuilder]:
        return [unit for unit in self._units if not unit.done.done()]

    def _unfinished_when_settled(self) -> list[UnitBuilder]:
        """Return the units that are unfinished after the results of all batches are in."""
        return self._writer.submit(self._unfinished).result()

    def _start_unit(self) -> None:
        attempts, done = self._offered[0]
        if done.running() or done.set_running_or_notify_cancel():
            try:
                self._units.append(UnitBuilder(self._context, attempts, self.generator, self._shards, done))
            except Exception as error:  # the generator may fail to load at another batch size
                if self._is_oom(error):
                    return
                done.set_exception(error)
        self._offered.popleft()

    def _make_batch(self, unit: UnitBuilder) -> None:
        self._batch_slots.acquire()
        try:
            batch, asked = unit.next_batch(self.generator), time.perf_counter()
            requests = padded_requests(batch, self.batch_size)
            pending = self.generator.generate(requests)
            call = Span("denoise", asked, time.perf_counter())
            # The pool starts tasks in their order, so the verdicts are computed before encoders wait for them.
            verdicts = self._encoders.submit(self._judge, unit, pending, requests)
            size = -(-len(batch) // self._n_encoders)
            parts = [
                self._encoders.submit(self._encode, unit, pending, verdicts, batch[start : start + size], start)
                for start in range(0, len(batch), size)
            ]
            self._writer.submit(self._settle, unit, pending, call, parts)
        except BaseException as error:
            self._writer.submit(self._fail, unit, error).result()

    def _judge(self, unit: UnitBuilder, pending: PendingImages, requests: Sequence[Request]) -> list[Verdict]:
        pixels = pending.images().pixels
        with unit.stats.timeline.own.time("encode"):
            return judge(self._context.filters, pixels, requests)

    def _encode(
        self,
        unit: UnitBuilder,
        pending: PendingImages,
        verdicts: Future[list[Verdict]],
        attempts: Sequence[Attempt],
        start: int,
    ) -> list[AttemptResult]:
        """Encode the part of a batch that begins at position `start`."""
        images, judged = pending.images(), verdicts.result()
        with unit.stats.timeline.own.time("encode"):
            return [
                attempt_result(self._context, attempt, unit.stats.facts, images, judged[position], position)
                for position, attempt in enumerate(attempts, start)
            ]

    def _settle(
        self, unit: UnitBuilder, pending: PendingImages, call: Span, parts: Sequence[Future[list[AttemptResult]]]
    ) -> None:
        with self._settling(unit):
            results = [result for part in parts for result in part.result()]
            spans = pending.images().spans or (call,)
            self._device_free_since = unit.stats.record_device(spans, self._device_free_since)
            if not unit.done.done():
                unit.add(results)

    def _fail(self, unit: UnitBuilder, error: BaseException) -> None:
        with self._settling(unit):
            raise error

    @contextmanager
    def _settling(self, unit: UnitBuilder) -> Iterator[None]:
        """Handle the end of a batch, on the writer's thread. An error ends the unit, unless the batch was too large."""
        try:
            yield
        except Exception as error:
            if not self._is_oom(error) and not unit.done.done():
                unit.discard()
                unit.done.set_exception(error)
        finally:
            self._batch_slots.release()
            self._wakeup.set()

    def _is_oom(self, error: Exception) -> bool:
        """Return whether smaller batches may avoid the error, and remember it."""
        # The error itself is not kept: its frames hold a batch in the device's memory.
        oom = self._load is not None and self.batch_size > 1 and is_out_of_memory(error)
        self._oom |= oom
        return oom

    def _restart_with_half_batches(self) -> None:
        for unit in reversed(self._unfinished_when_settled()):
            unit.discard()
            self._offered.appendleft((unit.attempts, unit.done))
        self._oom = False
        self._units.clear()
        self.resize(self.batch_size // 2)


def make_sample(context: RunContext, slot: Slot, number: int, generator: Generator) -> Sample | None:
    """Make the sample of one attempt again, alone in a batch of the same shape; None if it is rejected."""
    attempt = attempt_at(context, slot, number)
    requests = padded_requests([attempt], generator.batch_size)
    images = generator.generate(requests).images()
    verdict = judge(context.filters, images.pixels, requests)[0]
    return attempt_result(context, attempt, generator.facts, images, verdict, 0).sample


def time_batch(context: RunContext, generator: Generator) -> float:
    """Return the seconds that a batch of the plan's first slots takes, after a warm-up."""
    requests = first_batch(context, generator)
    generator.generate(requests).images()
    started = time.monotonic()
    generator.generate(requests).images()
    return time.monotonic() - started


def first_batch(context: RunContext, generator: Generator) -> list[Request]:
    """Return a full batch of requests for the plan's first slots."""
    count = min(generator.batch_size, context.plan.total)
    attempts = [attempt_at(context, slot, 0) for slot in map(context.plan.slot, range(count))]
    return padded_requests(next(batches(attempts, generator)), generator.batch_size)
