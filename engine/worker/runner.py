"""Making units on one device: from slots to finished shards, without Ray.

The core loop of the product. A batch denoises while threads judge, encode and write the one before. While the last
verdicts of a unit are out, and while it is published, the next one has the device. Which batch follows which decides
about no image: what is in a unit, and its order, follow from the plan and the verdicts alone.
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
from engine.models.memory import free_memory, out_of_memory
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
    requests_of,
)
from engine.worker.unit_builder import FinishedUnit, UnitBuilder
from shards.sample import Sample
from shards.stats import Stats
from shards.storage.store import StoreLike

_LEAST_THREADS = 2
_AT_ONCE = 2
"""Batches of images that are held in memory."""


def run_unit(context: RunContext, number: int, generator: Generator, shards: StoreLike) -> Stats:
    """Make unit `number` and publish it among `shards`; gives its stats, also if another worker finished it first.

    Raises ShardError, which is a CommitConflict where that one's bytes differ, SlotFailed, and whatever the generator
    raises; then nothing of the unit was published.
    """
    with Runner(context, generator, shards) as runner:
        unit = runner.offer(first_attempts(context, number))
        runner.run()
        return unit.result().publish()


class Runner:
    """A device and the threads of its host. Any thread offers it units, one has the device and calls `run`.

    The unit that was offered first goes first, batch by batch: the next one gets what that cannot use.

    load: gives the generator for another size of batches. With it, where a batch does not fit into the device's memory,
          its unit and all that were begun are made anew in batches of half the size, and so are all that follow.
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
        self._offered: deque[tuple[Sequence[Attempt], Future[FinishedUnit]]] = deque()
        self._begun: list[UnitBuilder] = []
        self._threads = max(_LEAST_THREADS, context.spec.cluster.cpus_per_actor)
        self._encoders = ThreadPoolExecutor(self._threads, "encode")
        self._scribe = ThreadPoolExecutor(1, "write")
        self._room, self._news = Semaphore(_AT_ONCE), Event()
        self._free, self._overfull = 0.0, False

    @property
    def generator(self) -> Generator:
        """For batches of the present size. Of the device's thread. Raises ModelError."""
        if self._generator is None:
            assert self._load is not None, "it was resized"
            self._generator = self._load(self.batch_size)
        return self._generator

    def resize(self, batch_size: int) -> None:
        """Make batches of this size from now on; `load` was given. Of the device's thread."""
        # All of it is loaded anew, when it is needed: the size in which texts are encoded is part of the result too.
        self.batch_size, self._generator = batch_size, None
        free_memory()

    def offer(self, turns: Sequence[Attempt]) -> Future[FinishedUnit]:
        """A unit to make, by its first turns. Its future can be cancelled until the device turns to it."""
        done = Future[FinishedUnit]()
        self._offered.append((turns, done))
        self._news.set()
        return done

    def run(self) -> None:
        """Make what was offered, and is meanwhile. Each unit's future tells how it ended."""
        try:
            self._run()
        except BaseException as error:
            for unit in self._settled():
                unit.drop()
                unit.done.set_exception(error)
            while self._offered:
                with suppress(InvalidStateError):  # it was recalled
                    self._offered.popleft()[1].set_exception(error)
            raise

    def _run(self) -> None:
        while True:
            self._news.clear()
            self._begun = self._unfinished()
            if self._overfull:
                self._begin_anew()
            if unit := next((unit for unit in self._begun if unit.due), None):
                self._make_batch(unit)
            elif self._offered:
                self._begin()
            elif self._begun:
                self._news.wait()
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._encoders.shutdown()
        self._scribe.shutdown()

    def _unfinished(self) -> list[UnitBuilder]:
        return [unit for unit in self._begun if not unit.done.done()]

    def _settled(self) -> list[UnitBuilder]:
        """Those that are unfinished when all batches are settled."""
        return self._scribe.submit(self._unfinished).result()

    def _begin(self) -> None:
        turns, done = self._offered[0]
        if done.running() or done.set_running_or_notify_cancel():
            try:
                self._begun.append(UnitBuilder(self._context, turns, self.generator, self._shards, done))
            except Exception as error:  # the generator of another size does not load
                if self._too_large(error):
                    return
                done.set_exception(error)
        self._offered.popleft()

    def _make_batch(self, unit: UnitBuilder) -> None:
        self._room.acquire()
        try:
            batch, asked = unit.next_batch(self.generator), time.perf_counter()
            requests = requests_of(batch, self.batch_size)
            made = self.generator.generate(requests)
            call, size = Span("denoise", asked, time.perf_counter()), -(-len(batch) // self._threads)
            # The pool starts tasks in their order, so this one runs before those that wait for it.
            verdicts = self._encoders.submit(self._judge, unit, made, requests)
            parts = [
                self._encoders.submit(self._encode, unit, made, verdicts, batch[start : start + size], start)
                for start in range(0, len(batch), size)
            ]
            self._scribe.submit(self._settle, unit, made, call, parts)
        except BaseException as error:
            self._scribe.submit(self._give_up, unit, error).result()

    def _judge(self, unit: UnitBuilder, made: PendingImages, requests: Sequence[Request]) -> list[Verdict]:
        pixels = made.images().pixels
        with unit.ledger.timeline.mine.time("encode"):
            return judge(self._context.filters, pixels, requests)

    def _encode(
        self,
        unit: UnitBuilder,
        made: PendingImages,
        verdicts: Future[list[Verdict]],
        turns: Sequence[Attempt],
        start: int,
    ) -> list[AttemptResult]:
        images, judged = made.images(), verdicts.result()
        with unit.ledger.timeline.mine.time("encode"):
            return [
                attempt_result(self._context, turn, unit.ledger.facts, images, judged[place], place)
                for place, turn in enumerate(turns, start)
            ]

    def _settle(
        self, unit: UnitBuilder, made: PendingImages, call: Span, parts: Sequence[Future[list[AttemptResult]]]
    ) -> None:
        with self._settling(unit):
            outcomes = [attempt_result for part in parts for attempt_result in part.result()]
            self._free = unit.ledger.had_device(made.images().spans or (call,), self._free)
            if not unit.done.done():
                unit.settle(outcomes)

    def _give_up(self, unit: UnitBuilder, error: BaseException) -> None:
        with self._settling(unit):
            raise error

    @contextmanager
    def _settling(self, unit: UnitBuilder) -> Iterator[None]:
        """On the thread that writes: the end of a batch, however it ended."""
        try:
            yield
        except Exception as error:
            if not self._too_large(error) and not unit.done.done():
                unit.drop()
                unit.done.set_exception(error)
        finally:
            self._room.release()
            self._news.set()

    def _too_large(self, error: Exception) -> bool:
        """Whether it says so of a batch, which is then halved. It is not kept: it holds frames, and these a batch."""
        found = self._load is not None and self.batch_size > 1 and out_of_memory(error)
        self._overfull |= found
        return found

    def _begin_anew(self) -> None:
        for unit in reversed(self._settled()):
            unit.drop()
            self._offered.appendleft((unit.turns, unit.done))
        self._overfull = False
        self._begun.clear()
        self.resize(self.batch_size // 2)


def make_sample(context: RunContext, slot: Slot, attempt: int, generator: Generator) -> Sample | None:
    """One sample again, alone in a batch of the same shape; None where it is rejected."""
    turn = attempt_at(context, slot, attempt)
    requests = requests_of([turn], generator.batch_size)
    images = generator.generate(requests).images()
    verdict = judge(context.filters, images.pixels, requests)[0]
    return attempt_result(context, turn, generator.facts, images, verdict, 0).sample


def time_batch(context: RunContext, generator: Generator) -> float:
    """Seconds for one batch of the plan's first slots, after another one as a warm-up."""
    requests = first_batch(context, generator)
    generator.generate(requests).images()
    started = time.monotonic()
    generator.generate(requests).images()
    return time.monotonic() - started


def first_batch(context: RunContext, generator: Generator) -> list[Request]:
    """A full batch of the plan's first slots."""
    count = min(generator.batch_size, context.plan.total)
    turns = [attempt_at(context, slot, 0) for slot in map(context.plan.slot, range(count))]
    return requests_of(next(batches(turns, generator)), generator.batch_size)
