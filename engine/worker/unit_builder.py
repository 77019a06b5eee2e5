"""A unit in the making, and one that is made: which batches are due, and where the samples go."""

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
class FinishedUnit:
    """A unit whose samples are written, and of which nothing is published."""

    ledger: UnitStats
    writer: ShardWriter
    shards: StoreLike

    @property
    def shard(self) -> str:
        """Its name as a shard."""
        return self.ledger.shard

    @property
    def timeline(self) -> Timeline:
        """Where its time went, so far."""
        return self.ledger.timeline

    def publish(self) -> Stats:
        """Publish it; gives its stats, also if another worker finished it first. Once; raises ShardError, which
        is a CommitConflict where that one's bytes differ."""
        spans = self.timeline.lane("publish")
        with self.writer, spans.time("commit"):
            files = self.writer.publish()
        stats = self.ledger.stats(files)
        with spans.time("commit"):
            return publish_stats(open_store(self.shards), self.shard, stats)


class UnitBuilder:
    """A unit in the making: rejected slots are tried again when all others had their turn.

    The thread of the device takes its batches; another one settles them, in the same order, and has the writer.

    turns: the first attempts, and where they are wanted again, in another size of batch, still the first.
    done:  gets the unit, or the error that ended it.
    """

    def __init__(
        self,
        context: RunContext,
        turns: Sequence[Attempt],
        generator: Generator,
        shards: StoreLike,
        done: Future[FinishedUnit],
    ) -> None:
        unit = context.plan.unit(turns[0].slot.unit)
        self.turns, self.done = turns, done
        self.ledger = UnitStats(
            context, unit, generator.facts, generator.batch_size, generator.device, time.perf_counter()
        )
        self.ledger.plan(turns)
        self._shards = shards
        self._writer: ShardWriter | None = None
        self._batches: deque[list[Attempt]] = deque()
        self._ahead, self._open = turns, len(turns)
        self._rejected: list[Attempt] = []

    @property
    def due(self) -> bool:
        """Whether the device has something to do for it: not before the last verdicts of a pass."""
        return bool(self._batches or self._ahead)

    def next_batch(self, generator: Generator) -> list[Attempt]:
        """The next batch that is due. It is always the same generator, which is not kept here: where memory is short it
        must go before another is loaded, whoever still holds this."""
        if self._ahead:
            turns, self._ahead = self._ahead, []
            self._batches.extend(batches(turns, generator))
        return self._batches.popleft()

    def settle(self, outcomes: Sequence[AttemptResult]) -> None:
        """Write what was kept of the next batch. Raises ShardError, and SlotFailed."""
        if self._writer is None:
            self._writer = ShardWriter(self._shards, self.ledger.shard)
        with self.ledger.timeline.mine.time("commit"):
            for outcome in outcomes:
                if outcome.sample is not None:
                    self._writer.add(outcome.sample)
                self.ledger.note(outcome)
        self._rejected += [outcome.turn for outcome in outcomes if outcome.sample is None]
        self._open -= len(outcomes)
        if self._open == 0:
            again, self._rejected = next_attempts(self.ledger.context, self._rejected), []
            self._ahead, self._open = again, len(again)
            if not again:
                self.done.set_result(FinishedUnit(self.ledger, self._writer, self._shards))

    def drop(self) -> None:
        """Leave nothing of it behind."""
        if self._writer is not None:
            with suppress(OSError), self._writer:
                pass
