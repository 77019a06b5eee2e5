"""What became of the slots of a unit, and where its time went: all that its stats file says."""

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from engine.generators.generator import ModelFacts
from engine.profiling import STAGES, Span, StageTimer, gaps, totals
from engine.run.run_context import RunContext
from engine.types import Slot, WorkUnit
from engine.worker.attempts import Attempt, AttemptResult
from shards.stats import Stats
from shards.writing.shard_writer import PublishedFile

_REPORTED_VERSIONS = ("shardmill", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless")


class Timeline:
    """The spans of a unit by who spent the time: the device, threads that encode, write and publish."""

    def __init__(self) -> None:
        self.lanes: dict[str, StageTimer] = {}

    @property
    def mine(self) -> StageTimer:
        """Those of the calling thread, by its name."""
        return self.lane(threading.current_thread().name)

    def lane(self, name: str) -> StageTimer:
        """Those of one of them."""
        return self.lanes.setdefault(name, StageTimer())

    def seconds(self) -> dict[str, float]:
        """Of each stage, added up over threads."""
        found = totals(span for spans in self.lanes.values() for span in spans.found)
        return {stage: round(found[stage], 4) for stage in STAGES}


@dataclass
class UnitStats:
    """What became of the slots of a unit.

    facts, batch_size, device: of the generator, see there. began: when the device turned to it, by `time.perf_counter`.
    device_s: seconds in which it had the device.
    """

    context: RunContext
    unit: WorkUnit
    facts: ModelFacts
    batch_size: int
    device: str
    began: float
    planned: Counter[int] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    reasons: dict[Slot, list[str]] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)
    device_s: float = 0.0

    @property
    def shard(self) -> str:
        """Its name as a shard."""
        return self.context.plan.shard_name(self.unit.number)

    def plan(self, turns: Sequence[Attempt]) -> None:
        """Record the first attempts."""
        self.planned.update(turn.slot.label for turn in turns)
        self.told.update(turn.request.prompt.strategy for turn in turns)

    def note(self, outcome: AttemptResult) -> None:
        """Record how a turn ended."""
        turn = outcome.turn
        if outcome.sample is not None:
            self.kept[turn.slot.label] += 1
            self.strategies[turn.request.prompt.strategy] += 1
        else:
            self.rejected[outcome.reason] += 1
            self.reasons.setdefault(turn.slot, []).append(outcome.reason)

    def had_device(self, spans: Sequence[Span], free: float) -> float:
        """Record a batch on the device, which was free since then; gives when it was free again. What it was idle
        meanwhile is `wait`, and so of the unit, which has it from batch to batch."""
        start = max(free, self.began)
        end = max(start, *(span.end for span in spans))
        self.device_s += end - start
        self.timeline.lane("device").found.extend([*spans, *gaps(spans, start, end)])
        return end

    def stats(self, files: Sequence[PublishedFile]) -> Stats:
        """The stats of the unit, see `shards.stats`."""
        classes, count = self.context.plan.classes, sum(self.kept.values())
        counts = {classes[label]: (n, self.kept[label]) for label, n in sorted(self.planned.items())}
        return {
            "unit": self.unit.number,
            "count": count,
            "planned": {name: n for name, (n, _) in counts.items()},
            "kept": {name: kept for name, (_, kept) in counts.items()},
            "failed": {name: n - kept for name, (n, kept) in counts.items()},
            "strategies": {
                name: {"planned": n, "kept": self.strategies[name]} for name, n in sorted(self.told.items())
            },
            "rejected": dict(sorted(self.rejected.items())),
            "failures": self._failures(),
            "files": [facts.as_json() for facts in files],
            "plan_digest": self.context.plan.digest,
            **json.loads(json.dumps(asdict(self.facts))),  # as it will be read back: no tuples
            "batch_size": self.batch_size,
            "duration_s": round(self.device_s, 3),
            "seconds": self.timeline.seconds(),
            "images_per_second": round(count / self.device_s, 2),
            "device": self.device,
            "versions": dict(_versions()),
        }

    def _failures(self) -> list[dict[str, object]]:
        classes, allowed = self.context.plan.classes, self.context.spec.plan.max_attempts
        return [
            {"key": slot.key, "class_name": classes[slot.label], "reasons": reasons}
            for slot, reasons in self.reasons.items()
            if len(reasons) == allowed
        ]


@cache  # looking them up takes longer than encoding a hundred small images
def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for package in _REPORTED_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout, or made by a generator that does not need it
            found[package] = "not installed"
    return found
