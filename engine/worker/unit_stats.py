"""The statistics of a unit: how its attempts ended and where its time went. Its stats file holds them."""

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
    """The stage timers of a unit: one for the device, and one for each thread that encodes, writes or publishes."""

    def __init__(self) -> None:
        self.timers: dict[str, StageTimer] = {}

    @property
    def own(self) -> StageTimer:
        """The timer of the calling thread."""
        return self.timer(threading.current_thread().name)

    def timer(self, name: str) -> StageTimer:
        """Return the timer of this name."""
        return self.timers.setdefault(name, StageTimer())

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage, added up over threads."""
        sums = totals(span for timer in self.timers.values() for span in timer.spans)
        return {stage: round(sums[stage], 4) for stage in STAGES}


@dataclass
class UnitStats:
    """How the attempts of a unit ended.

    facts, batch_size, device: of the generator.
    planned, kept: slots and samples by label.
    planned_by_strategy, kept_by_strategy: the same by prompt strategy.
    """

    context: RunContext
    unit: WorkUnit
    facts: ModelFacts
    batch_size: int
    device: str
    started: float  # when the device turned to the unit, by `time.perf_counter`
    planned: Counter[int] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)
    planned_by_strategy: Counter[str] = field(default_factory=Counter)
    kept_by_strategy: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)  # number of rejected images by reason
    reasons: dict[Slot, list[str]] = field(default_factory=dict)  # reasons of all rejections by slot
    timeline: Timeline = field(default_factory=Timeline)
    device_s: float = 0.0  # seconds for which the unit had the device

    @property
    def shard(self) -> str:
        """Its name as a shard."""
        return self.context.plan.shard_name(self.unit.number)

    def record_planned(self, attempts: Sequence[Attempt]) -> None:
        """Count the slots, by their first attempts."""
        self.planned.update(attempt.slot.label for attempt in attempts)
        self.planned_by_strategy.update(attempt.request.prompt.strategy for attempt in attempts)

    def record(self, result: AttemptResult) -> None:
        """Count the end of an attempt."""
        attempt = result.attempt
        if result.sample is not None:
            self.kept[attempt.slot.label] += 1
            self.kept_by_strategy[attempt.request.prompt.strategy] += 1
        else:
            self.rejected[result.reason] += 1
            self.reasons.setdefault(attempt.slot, []).append(result.reason)

    def record_device(self, spans: Sequence[Span], free_since: float) -> float:
        """Record a batch on the device, which was free since `free_since`; return when it was free again."""
        # The device belongs to the unit from batch to batch, so its idle time before this batch is the unit's `wait`.
        start = max(free_since, self.started)
        end = max(start, *(span.end for span in spans))
        self.device_s += end - start
        self.timeline.timer("device").spans.extend([*spans, *gaps(spans, start, end)])
        return end

    def as_stats(self, files: Sequence[PublishedFile]) -> Stats:
        """Return the content of the stats file, see `shards.stats`."""
        classes, count = self.context.plan.classes, sum(self.kept.values())
        counts = {classes[label]: (n, self.kept[label]) for label, n in sorted(self.planned.items())}
        return {
            "unit": self.unit.number,
            "count": count,
            "planned": {name: n for name, (n, _) in counts.items()},
            "kept": {name: kept for name, (_, kept) in counts.items()},
            "failed": {name: n - kept for name, (n, kept) in counts.items()},
            "strategies": {
                name: {"planned": n, "kept": self.kept_by_strategy[name]}
                for name, n in sorted(self.planned_by_strategy.items())
            },
            "rejected": dict(sorted(self.rejected.items())),
            "failures": self._failures(),
            "files": [facts.as_json() for facts in files],
            "plan_digest": self.context.plan.digest,
            **json.loads(json.dumps(asdict(self.facts))),  # lists instead of tuples, as it will be read back
            "batch_size": self.batch_size,
            "duration_s": round(self.device_s, 3),
            "seconds": self.timeline.seconds(),
            "images_per_second": round(count / self.device_s, 2),
            "device": self.device,
            "versions": dict(_versions()),
        }

    def _failures(self) -> list[dict[str, object]]:
        classes, limit = self.context.plan.classes, self.context.spec.plan.max_attempts
        return [
            {"key": slot.key, "class_name": classes[slot.label], "reasons": reasons}
            for slot, reasons in self.reasons.items()
            if len(reasons) == limit
        ]


@cache  # a look-up takes longer than encoding a hundred small images
def _versions() -> dict[str, str]:
    versions = {"python": python_version()}
    for package in _REPORTED_VERSIONS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # Shardmill runs from a checkout, or the generator does not need the package
            versions[package] = "not installed"
    return versions
