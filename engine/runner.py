"""Making one unit: from slots to a finished shard, on one device, without Ray.

The core loop of the product. A batch denoises while threads judge and encode the one before; rejected slots are tried
again when all others had their turn, so the order of everything follows from the plan and the verdicts alone.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from engine.filters import judge
from engine.generators.base import Generator, ModelFacts, Request
from engine.plan import Slot, WorkUnit
from engine.recipe import Recipe
from shards.codec import Pixels, encode_rgb
from shards.commit import publish_json
from shards.sample import Sample
from shards.stats import SUFFIX, Stats, read_stats
from shards.writer import FileFacts, ShardWriter

_ENCODING_THREADS = 2
_REPORTED_VERSIONS = ("shardmill", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt at a slot ended: with a sample, or with the reason why not."""

    slot: Slot
    attempt: int
    sample: Sample | None
    reason: str


@dataclass
class Ledger:
    """What became of the slots of a unit."""

    kept: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    reasons: dict[Slot, list[str]] = field(default_factory=dict)

    def reject(self, outcome: Outcome) -> None:
        """Record a rejection."""
        self.rejected[outcome.reason] += 1
        self.reasons.setdefault(outcome.slot, []).append(outcome.reason)


def run_unit(recipe: Recipe, number: int, generator: Generator, folder: Path) -> Stats:
    """Make unit `number` and publish it in `folder`; gives its stats, also if another worker finished it first.

    Raises ShardError, and whatever the generator raises; then nothing of the unit was published.
    """
    plan, unit, started = recipe.plan, recipe.plan.unit(number), time.monotonic()
    name, ledger = plan.shard_name(number), Ledger()
    turns = [(slot, 0) for slot in plan.slots(unit)]
    with ShardWriter(folder, name) as writer, ThreadPoolExecutor(_ENCODING_THREADS) as pool:
        while turns:
            rejected = []
            for outcome in _attempt(recipe, turns, generator, pool):
                if outcome.sample is not None:
                    writer.add(outcome.sample)
                    ledger.kept[outcome.slot.label] += 1
                else:
                    ledger.reject(outcome)
                    rejected.append((outcome.slot, outcome.attempt + 1))
            turns = [turn for turn in rejected if turn[1] < recipe.spec.plan.max_attempts]
        files = writer.publish()
    stats = _stats(recipe, unit, generator, ledger, files, time.monotonic() - started)
    path = folder / f"{name}{SUFFIX}"
    return stats if publish_json(path, stats) else read_stats(path)


def make_image(recipe: Recipe, slot: Slot, attempt: int, generator: Generator) -> Pixels:
    """One image again, alone in a batch of the same shape."""
    frames = generator.generate(_padded([recipe.request(slot, attempt)], generator.batch_size))
    return np.asarray(frames[0])


def time_batch(recipe: Recipe, generator: Generator) -> float:
    """Seconds for one batch of the plan's first slots, after another one as a warm-up."""
    count = min(generator.batch_size, recipe.plan.total)
    requests = _padded([recipe.request(recipe.plan.slot(i), 0) for i in range(count)], generator.batch_size)
    generator.generate(requests)
    started = time.monotonic()
    generator.generate(requests)
    return time.monotonic() - started


def encode(recipe: Recipe, pixels: Pixels) -> bytes:
    """The image as it is stored."""
    image = recipe.spec.output.image
    return encode_rgb(pixels, image.format, image.quality)


def _attempt(
    recipe: Recipe, turns: Sequence[tuple[Slot, int]], generator: Generator, pool: ThreadPoolExecutor
) -> Iterator[Outcome]:
    """Make these attempts in batches; their outcomes in the same order. At most two batches are held in memory."""
    size = generator.batch_size
    pending: deque[Future[Outcome]] = deque()
    for start in range(0, len(turns), size):
        batch = turns[start : start + size]
        requests = [recipe.request(slot, attempt) for slot, attempt in batch]
        frames = generator.generate(_padded(requests, size))
        for (slot, attempt), pixels in zip(batch, frames, strict=False):
            pending.append(pool.submit(_finish, recipe, slot, attempt, generator.facts, pixels))
        while len(pending) > size:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _padded(requests: Sequence[Request], size: int) -> list[Request]:
    # Never a smaller batch: another batch size gives another image, in its last bits or more.
    return [*requests, *[requests[-1]] * (size - len(requests))]


def _finish(recipe: Recipe, slot: Slot, attempt: int, facts: ModelFacts, pixels: Pixels) -> Outcome:
    verdict = judge(recipe.filters, pixels, slot)
    if not verdict.keep:
        return Outcome(slot, attempt, None, verdict.reason)
    height, width = pixels.shape[:2]
    meta = recipe.metadata(slot, attempt, facts) | {"width": width, "height": height} | verdict.scores
    image = encode(recipe, pixels)
    return Outcome(slot, attempt, Sample(slot.key, image, recipe.spec.output.image.format, slot.label, meta), "")


def _stats(
    recipe: Recipe, unit: WorkUnit, generator: Generator, ledger: Ledger, files: Sequence[FileFacts], seconds: float
) -> Stats:
    classes = recipe.plan.classes
    planned = Counter(slot.label for slot in recipe.plan.slots(unit))
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
        "rejected": dict(sorted(ledger.rejected.items())),
        "failures": failures,
        "files": [facts.as_json() for facts in files],
        "plan_digest": recipe.plan.digest,
        **asdict(generator.facts),
        "batch_size": generator.batch_size,
        "duration_s": round(seconds, 3),
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
