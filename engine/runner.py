"""Making one unit: from slots to a finished shard, on one device, without Ray.

The core loop of the product. A batch denoises while threads judge and encode the one before; rejected slots are tried
again when all others had their turn, so the order of everything follows from the plan and the verdicts alone.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import SlotFailed
from engine.filters import judge
from engine.generators.base import Generator, Images, Made, ModelFacts, Request
from engine.plan import Slot, WorkUnit
from engine.recipe import Recipe
from shards.codec import Pixels, encode_mask, encode_rgb
from shards.finished import Place, finish
from shards.retries import first_line
from shards.sample import Sample
from shards.stats import Stats
from shards.store import open_store
from shards.writer import FileFacts, ShardWriter

_ENCODING_THREADS = 2
_REPORTED_VERSIONS = ("shardmill", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Turn:
    """One attempt at a slot."""

    slot: Slot
    attempt: int
    request: Request


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: with a sample, or with the reason why not."""

    turn: Turn
    sample: Sample | None
    reason: str


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


@dataclass
class Ledger:
    """What became of the slots of a unit. generating_s: seconds in which the generator was at work."""

    kept: Counter[int] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    reasons: dict[Slot, list[str]] = field(default_factory=dict)
    generating_s: float = 0.0

    def keep(self, turn: Turn) -> None:
        """Record a sample."""
        self.kept[turn.slot.label] += 1
        self.strategies[turn.request.prompt.strategy] += 1

    def reject(self, outcome: Outcome) -> None:
        """Record a rejection."""
        self.rejected[outcome.reason] += 1
        self.reasons.setdefault(outcome.turn.slot, []).append(outcome.reason)


def run_unit(recipe: Recipe, number: int, generator: Generator, shards: Place) -> Stats:
    """Make unit `number` and publish it among `shards`; gives its stats, also if another worker finished it first.

    Raises ShardError, SlotFailed, and whatever the generator raises; then nothing of the unit was published.
    """
    plan, unit, started = recipe.plan, recipe.plan.unit(number), time.monotonic()
    store, name, ledger = open_store(shards), plan.shard_name(number), Ledger()
    turns = [_turn(recipe, slot, 0) for slot in plan.slots(unit)]
    with ShardWriter(store, name) as writer, ThreadPoolExecutor(_ENCODING_THREADS) as pool:
        while turns:
            again = []
            for outcome in _attempt(recipe, turns, generator, pool, ledger):
                if outcome.sample is not None:
                    writer.add(outcome.sample)
                    ledger.keep(outcome.turn)
                else:
                    ledger.reject(outcome)
                    again.append((outcome.turn.slot, outcome.turn.attempt + 1))
            allowed = recipe.spec.plan.max_attempts
            turns = [_turn(recipe, slot, n) for slot, n in again if n < allowed]
        files = writer.publish()
    stats = _stats(recipe, unit, generator, ledger, files, time.monotonic() - started)
    return finish(store, name, stats)


def make_sample(recipe: Recipe, slot: Slot, attempt: int, generator: Generator) -> Sample | None:
    """One sample again, alone in a batch of the same shape; None where it is rejected."""
    turn = _turn(recipe, slot, attempt)
    made = generator.generate(_padded([turn.request], generator.batch_size))
    return _finish(recipe, turn, generator.facts, made, 0).sample


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


def _attempt(
    recipe: Recipe, turns: Sequence[Turn], generator: Generator, pool: ThreadPoolExecutor, ledger: Ledger
) -> Iterator[Outcome]:
    """Make these attempts in batches of one shape each; at most two batches of images are held in memory."""
    pending: deque[Future[Outcome]] = deque()
    for batch in _batches(turns, generator):
        asked = time.monotonic()
        made = generator.generate(_padded([turn.request for turn in batch], generator.batch_size))
        ledger.generating_s += time.monotonic() - asked
        for place, turn in enumerate(batch):
            pending.append(pool.submit(_finish, recipe, turn, generator.facts, made, place))
        while len(pending) > generator.batch_size:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


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


def _turn(recipe: Recipe, slot: Slot, attempt: int) -> Turn:
    with _of_slot(recipe, slot):
        return Turn(slot, attempt, recipe.request(slot, attempt))


def _finish(recipe: Recipe, turn: Turn, facts: ModelFacts, made: Made, place: int) -> Outcome:
    frame = _Frame.of(made.images(), place)
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


def _stats(
    recipe: Recipe, unit: WorkUnit, generator: Generator, ledger: Ledger, files: Sequence[FileFacts], seconds: float
) -> Stats:
    classes = recipe.plan.classes
    planned = Counter(slot.label for slot in recipe.plan.slots(unit))
    told = Counter(recipe.prompt(slot).strategy for slot in recipe.plan.slots(unit))
    count = sum(ledger.kept.values())
    failures = [
        {"key": slot.key, "class_name": classes[slot.label], "reasons": reasons}
        for slot, reasons in ledger.reasons.items()
        if len(reasons) == recipe.spec.plan.max_attempts
    ]
    return {
        "unit": unit.number,
        "count": count,
        "planned": {classes[label]: n for label, n in sorted(planned.items())},
        "kept": {classes[label]: ledger.kept[label] for label in sorted(planned)},
        "failed": {classes[label]: n - ledger.kept[label] for label, n in sorted(planned.items())},
        "strategies": {name: {"planned": n, "kept": ledger.strategies[name]} for name, n in sorted(told.items())},
        "rejected": dict(sorted(ledger.rejected.items())),
        "failures": failures,
        "files": [facts.as_json() for facts in files],
        "plan_digest": recipe.plan.digest,
        **json.loads(json.dumps(asdict(generator.facts))),  # as it will be read back: no tuples
        "batch_size": generator.batch_size,
        "duration_s": round(seconds, 3),
        "host_wait_s": round(seconds - ledger.generating_s, 3),
        "images_per_second": round(count / seconds, 2),
        "device": generator.device,
        "versions": _versions(),
    }


def _versions() -> dict[str, Any]:
    found = {"python": python_version()}
    for package in _REPORTED_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout, or made by a generator that does not need it
            found[package] = "not installed"
    return found
