"""Building a unit: which batches are due, where the samples go, and its publication."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from engine.generators.generator import Generator
from engine.run.run_context import RunContext
from engine.worker.attempts import Attempt, AttemptResult, batches, next_attempts
from engine.worker.unit_stats import Timeline, UnitStats
from shards.stats import Stats
from shards.storage.manifest import publish_stats
from shards.storage.open_store import open_store
from shards.storage.store import StoreLike
from shards.writing.shard_writer import ShardWriter


@dataclass(frozen=True)
class WrittenUnit:
    """A unit whose samples are all written, and which is not published yet."""

    stats: UnitStats
    writer: ShardWriter
    shards: StoreLike

    @property
    def shard(self) -> str:
        """Its name as a shard."""
        return self.stats.shard

    @property
    def timeline(self) -> Timeline:
        """Where its time went, so far."""
        return self.stats.timeline

    def publish(self) -> Stats:
        """Publish the unit, once; return its stats, or those of another worker that finished it first.

        Raises ShardError, which is a CommitConflict where the other worker's bytes differ.
        """
        timer = self.timeline.timer("publish")
        with self.writer, timer.time("commit"):
            files = self.writer.publish()
        stats = self.stats.as_stats(files)
        with timer.time("commit"):
            return publish_stats(open_store(self.shards), self.shard, stats)


class UnitBuilder:
    """A unit that is being made. Rejected slots are tried again after all others.

    The device's thread takes batches. The writer's thread adds their results, in the same order.

    attempts: the first attempts at the unit's slots. They are kept, because a unit that restarts with a smaller batch
              uses them unchanged.
    done:     gets the FinishedUnit, or the error that ended the unit.
    """

    def __init__(
        self,
        context: RunContext,
        attempts: Sequence[Attempt],
        generator: Generator,
        shards: StoreLike,
        done: Future[WrittenUnit],
    ) -> None:
        unit = context.plan.unit(attempts[0].slot.unit)
        self.attempts, self.done = attempts, done
        self.stats = UnitStats(
            context, unit, generator.facts, generator.batch_size, generator.device, time.perf_counter()
        )
        self.stats.record_planned(attempts)
        self._shards = shards
        self._writer: ShardWriter | None = None
        self._batches: deque[list[Attempt]] = deque()
        self._waiting, self._unsettled = attempts, len(attempts)
        self._rejected: list[Attempt] = []

    @property
    def has_batch(self) -> bool:
        """Return whether a batch is due; after a pass over all slots none is until all its results are in."""
        return bool(self._batches or self._waiting)

    def next_batch(self, generator: Generator) -> list[Attempt]:
        """Return the next batch that is due. The generator is the same in every call."""
        # It is no attribute: where memory is short it must be freed before another is loaded, while this one lives on.
        if self._waiting:
            attempts, self._waiting = self._waiting, []
            self._batches.extend(batches(attempts, generator))
        return self._batches.popleft()

    def add(self, results: Sequence[AttemptResult]) -> None:
        """Write the samples of the next batch and plan the next attempts. Raises ShardError and SlotFailed."""
        if self._writer is None:
            self._writer = ShardWriter(self._shards, self.stats.shard)
        with self.stats.timeline.own.time("commit"):
            for result in results:
                if result.sample is not None:
                    self._writer.add(result.sample)
                self.stats.record(result)
        self._rejected += [result.attempt for result in results if result.sample is None]
        self._unsettled -= len(results)
        if self._unsettled == 0:
            again, self._rejected = next_attempts(self.stats.context, self._rejected), []
            self._waiting, self._unsettled = again, len(again)
            if not again:
                self.done.set_result(WrittenUnit(self.stats, self._writer, self._shards))

    def discard(self) -> None:
        """Remove everything that was written."""
        if self._writer is not None:
            with suppress(OSError), self._writer:
                pass
