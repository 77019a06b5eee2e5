"""Making one unit: from slots to a finished shard, on one device, without Ray.

The core loop of the product. A batch denoises while threads judge, encode and write the one before, and a whole unit
is made while the one before is published. Rejected slots are tried again when all others had their turn, so the order
of everything follows from the plan and the verdicts alone.
"""

import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import SlotFailed
from engine.filters import judge
from engine.generators.base import Generator, Images, Made, ModelFacts, Request
from engine.ledger import Ledger, Outcome, Timeline, Turn
from engine.plan import Slot
from engine.recipe import Recipe
from engine.spans import Span
from shards.codec import Pixels, encode_mask, encode_rgb
from shards.finished import Place, finish
from shards.retries import first_line
from shards.sample import Sample
from shards.stats import Stats
from shards.store import open_store
from shards.writer import ShardWriter

_LEAST_THREADS = 2
_AT_ONCE = 2
"""Batches of images that are held in memory."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """One image of a batch, see `Images`."""

    pixels: Pixels
    mask: NDArray[np.uint8] | None
    refused: str

    @classmethod
    def of(cls, images: Images, place: int) -> Self:
        mask = None if images.masks is None else images.masks[place]
        return cls(images.pixels[place], mask, images.refused[place] if images.refused else "")


@dataclass(frozen=True)
class MadeUnit:
    """A unit whose samples are written, and of which nothing is published."""

    ledger: Ledger
    writer: ShardWriter
    shards: Place

    @property
    def shard(self) -> str:
        """Its name as a shard."""
        return self.ledger.recipe.plan.shard_name(self.ledger.unit.number)

    @property
    def timeline(self) -> Timeline:
        """Where its time went, so far."""
        return self.ledger.timeline

    def publish(self) -> Stats:
        """Publish it; gives its stats, also if another worker finished it first. Once; raises ShardError."""
        spans = self.timeline.lane("publish")
        with self.writer, spans.time("commit"):
            files = self.writer.publish()
        stats = self.ledger.stats(files)
        with spans.time("commit"):
            return finish(open_store(self.shards), self.shard, stats)


def run_unit(recipe: Recipe, number: int, generator: Generator, shards: Place) -> Stats:
    """Make unit `number` and publish it among `shards`; gives its stats, also if another worker finished it first.

    Raises ShardError, SlotFailed, and whatever the generator raises; then nothing of the unit was published.
    """
    return make_unit(recipe, first_turns(recipe, number), generator, shards).publish()


def first_turns(recipe: Recipe, number: int) -> list[Turn]:
    """The first attempts at the slots of unit `number`. Takes no device. Raises SlotFailed."""
    return [_turn(recipe, slot, 0) for slot in recipe.plan.slots(recipe.plan.unit(number))]


def make_unit(recipe: Recipe, turns: Sequence[Turn], generator: Generator, shards: Place) -> MadeUnit:
    """The part of `run_unit` that takes the device. turns: see `first_turns`."""
    began, unit = time.perf_counter(), recipe.plan.unit(turns[0].slot.unit)
    ledger = Ledger(recipe, unit, generator.facts, generator.batch_size, generator.device)
    ledger.plan(turns)
    with ExitStack() as stack:
        writer = stack.enter_context(ShardWriter(shards, recipe.plan.shard_name(unit.number)))
        with _Host(recipe, generator.facts, ledger, writer) as host:
            while turns:
                again = _attempt(turns, generator, host)
                turns = [_turn(recipe, one.slot, one.attempt + 1) for one in again if _may_try_again(recipe, one)]
        stack.pop_all()  # what was written stays until it is published
    ledger.had_device(began, time.perf_counter())
    return MadeUnit(ledger, writer, shards)


def make_sample(recipe: Recipe, slot: Slot, attempt: int, generator: Generator) -> Sample | None:
    """One sample again, alone in a batch of the same shape; None where it is rejected."""
    turn = _turn(recipe, slot, attempt)
    made = generator.generate(_padded([turn.request], generator.batch_size))
    return _finish(recipe, turn, generator.facts, made.images(), 0).sample


def time_batch(recipe: Recipe, generator: Generator) -> float:
    """Seconds for one batch of the plan's first slots, after another one as a warm-up."""
    requests = first_batch(recipe, generator)
    generator.generate(requests).images()
    started = time.monotonic()
    generator.generate(requests).images()
    return time.monotonic() - started


def first_batch(recipe: Recipe, generator: Generator) -> list[Request]:
    """A full batch of the plan's first slots."""
    count = min(generator.batch_size, recipe.plan.total)
    turns = [_turn(recipe, slot, 0) for slot in map(recipe.plan.slot, range(count))]
    return _padded([turn.request for turn in next(_batches(turns, generator))], generator.batch_size)


class _Host:
    """What is done with a unit's images while the device makes the next: threads judge and encode them, another one
    writes the samples in the order of their turns."""

    def __init__(self, recipe: Recipe, facts: ModelFacts, ledger: Ledger, writer: ShardWriter) -> None:
        self._recipe, self._facts, self._ledger, self._writer = recipe, facts, ledger, writer
        self._parts = max(_LEAST_THREADS, recipe.spec.cluster.cpus_per_actor)
        self._encoders = ThreadPoolExecutor(self._parts, "encode")
        self._scribe = ThreadPoolExecutor(1, "write")

    def take(self, made: Made, turns: Sequence[Turn], call: Span) -> "Future[list[Turn]]":
        """Finish a batch; gives the turns that were rejected. call: of the generator, see `Timeline.add_batch`."""
        size = -(-len(turns) // self._parts)
        parts = [
            self._encoders.submit(self._encode, made, turns[start : start + size], start)
            for start in range(0, len(turns), size)
        ]
        return self._scribe.submit(self._write, made, call, parts)

    def _encode(self, made: Made, turns: Sequence[Turn], start: int) -> list[Outcome]:
        images = made.images()
        with self._ledger.timeline.mine.time("encode"):
            return [_finish(self._recipe, turn, self._facts, images, place) for place, turn in enumerate(turns, start)]

    def _write(self, made: Made, call: Span, parts: "Sequence[Future[list[Outcome]]]") -> list[Turn]:
        outcomes = [outcome for part in parts for outcome in part.result()]
        self._ledger.timeline.add_batch(made.images(), call)
        with self._ledger.timeline.mine.time("commit"):
            for outcome in outcomes:
                if outcome.sample is not None:
                    self._writer.add(outcome.sample)
                self._ledger.note(outcome)
        return [outcome.turn for outcome in outcomes if outcome.sample is None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._scribe.shutdown()
        self._encoders.shutdown()


def _attempt(turns: Sequence[Turn], generator: Generator, host: _Host) -> list[Turn]:
    """Make these attempts in batches of one shape each; gives those that were rejected, in their order."""
    rejected: list[Turn] = []
    pending: deque[Future[list[Turn]]] = deque()
    for batch in _batches(turns, generator):
        asked = time.perf_counter()
        made = generator.generate(_padded([turn.request for turn in batch], generator.batch_size))
        pending.append(host.take(made, batch, Span("denoise", asked, time.perf_counter())))
        if len(pending) == _AT_ONCE:
            rejected += pending.popleft().result()
    for last in pending:
        rejected += last.result()
    return rejected


def _batches(turns: Sequence[Turn], generator: Generator) -> Iterator[list[Turn]]:
    """Full batches of requests of equal shape, shapes in the order in which they appear; each shape's last may be
    short."""
    groups: dict[Hashable, list[Turn]] = {}
    for turn in turns:
        groups.setdefault(generator.shape(turn.request), []).append(turn)
    for group in groups.values():
        for start in range(0, len(group), generator.batch_size):
            yield group[start : start + generator.batch_size]


def _padded(requests: Sequence[Request], size: int) -> list[Request]:
    # Never a smaller batch: another batch size gives another image, in its last bits or more.
    return [*requests, *[requests[-1]] * (size - len(requests))]


def _may_try_again(recipe: Recipe, turn: Turn) -> bool:
    return turn.attempt + 1 < recipe.spec.plan.max_attempts


def _turn(recipe: Recipe, slot: Slot, attempt: int) -> Turn:
    with _of_slot(recipe, slot):
        return Turn(slot, attempt, recipe.request(slot, attempt))


def _finish(recipe: Recipe, turn: Turn, facts: ModelFacts, images: Images, place: int) -> Outcome:
    frame = _Frame.of(images, place)
    with _of_slot(recipe, turn.slot):
        verdict = judge(recipe.filters, frame.pixels, turn.slot)
        if frame.refused or not verdict.keep:
            return Outcome(turn, None, frame.refused or verdict.reason)
        slot, (height, width) = turn.slot, frame.pixels.shape[:2]
        meta = recipe.metadata(slot, turn.attempt, turn.request, facts)
        meta |= {"width": width, "height": height} | verdict.scores
        form = recipe.spec.output.image
        image = encode_rgb(frame.pixels, form.format, form.quality)
        mask = None if frame.mask is None else encode_mask(frame.mask)
        return Outcome(turn, Sample(slot.key, image, form.format, slot.label, meta, mask), "")


@contextmanager
def _of_slot(recipe: Recipe, slot: Slot) -> Iterator[None]:
    """An error within it names the slot."""
    try:
        yield
    except Exception as error:
        failed = SlotFailed(f"{type(error).__name__}: {first_line(error)} (slot {slot.key})")
        failed.key = slot.key
        with suppress(Exception):  # it may be the prompt that cannot be made
            failed.prompt = recipe.prompt(slot).text
        raise failed from error
