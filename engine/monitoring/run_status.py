"""How far a run is, from its output alone: nothing here asks the driver, which may be elsewhere, or gone."""

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.monitoring.budget import Cost, seconds_of
from engine.monitoring.cost_file import recorded
from engine.monitoring.rate import Ended, Rate, rate
from engine.profiling import DEVICE, STAGES
from engine.run.run import Run
from engine.run.run_context import RunContext
from shards.stats import STATS_SUFFIX, Stats, total_by_class
from shards.storage.manifest import finished_shards

STRAGGLING = 3.0
"""A unit that took so many times the median is a straggler."""
_PAUSE_S = 60.0
_ERROR = re.compile(r"^(?:\w+\.)*(\w+: .*)$", re.MULTILINE)


@dataclass(frozen=True)
class ClassProgress:
    """Images of one class."""

    name: str
    planned: int
    kept: int
    failed: int


@dataclass(frozen=True)
class Straggler:
    """A unit that took far longer than most. seconds: it took; device: on what."""

    shard: str
    seconds: float
    device: str


@dataclass(frozen=True)
class Status:
    """Of a run as its output stands.

    units, units_done: of the plan, and finished. images_per_second: over the latest units, back to the last pause.
    eta_s:        of what is left at the rate of slots, those that failed included; None where the run stands still, is
                  complete, or no rate is known.
    idle_s:       seconds since the last unit was finished, by the clock of the store; None where none is.
    running:      whether that is less than units may be apart.
    rejected:     attempts that were turned down, by reason. failed: slots that no attempt could fill, by last reason.
    quarantined:  the last error of each unit that was given up, by shard name.
    median_s:     seconds that the unit in the middle took. stragglers: the slowest first.
    seconds:      of all finished units by stage, see `engine.profiling`.
    cost:         of all commands so far.
    """

    name: str
    units: int
    units_done: int
    classes: Sequence[ClassProgress]
    images_per_second: float | None
    eta_s: float | None
    idle_s: float | None
    running: bool
    rejected: Mapping[str, int]
    failed: Mapping[str, int]
    quarantined: Mapping[str, str]
    median_s: float | None
    stragglers: Sequence[Straggler]
    seconds: Mapping[str, float]
    disk_bytes: int
    cost: Cost

    @property
    def waiting(self) -> float | None:
        """Share of the time of the devices in which they had nothing to do; None before the first unit."""
        on_device = sum(self.seconds[stage] for stage in (*DEVICE, "wait"))
        return self.seconds["wait"] / on_device if on_device else None

    @property
    def complete(self) -> bool:
        """Whether every unit is finished."""
        return self.units_done == self.units

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        found = {**vars(self), "classes": [vars(one) for one in self.classes], "complete": self.complete}
        del found["cost"]
        return found | {"stragglers": [vars(one) for one in self.stragglers], **self.cost.facts()}


@dataclass(frozen=True)
class Output:
    """What a run's output says.

    stats, ended: of the finished units by shard name; ended is in seconds since 1970.
    given_up:     see `quarantined`. recorded: see `costfile.recorded`.
    """

    stats: Mapping[str, Stats]
    ended: Mapping[str, float]
    given_up: Mapping[str, str]
    recorded: Cost


def status(run: Run, now: float) -> Status:
    """Read it. now: seconds since 1970. Raises ShardError where the output cannot be read."""
    stats = run.stats()
    written = {name: entry.modified for name, entry in run.shards.entries().items()}
    ended = {shard: written.get(f"{shard}{STATS_SUFFIX}", now) for shard in stats}
    return summarize(run.context, Output(stats, ended, quarantined(run), recorded(run.store)), now)


def quarantined(run: Run) -> dict[str, str]:
    """The last error of each unit that was given up and is not finished since, by shard name."""
    folder, done = run.store / "quarantine", set(finished_shards(run.shards))
    shards = [shard for name in folder.entries() if (shard := name.removesuffix(".json")).isdecimal()]
    return {shard: _last_error(folder.read(f"{shard}.json")) for shard in shards if shard not in done}


def summarize(context: RunContext, output: Output, now: float) -> Status:
    """Pure; see `status`."""
    plan, stats, ended = context.plan, list(output.stats.values()), output.ended
    kept, failed = (total_by_class(stats, kind) for kind in ("kept", "failed"))
    classes = [
        ClassProgress(name, quota, kept.get(name, 0), failed.get(name, 0))
        for name, quota in zip(plan.classes, plan.quotas, strict=True)
    ]
    median = statistics.median(float(one["duration_s"]) for one in stats) if stats else None
    # With several actors units end more often than one takes; with one, never much more seldom, but for stragglers.
    pause = max(_PAUSE_S, STRAGGLING * (median or 0.0))
    idle = max(0.0, now - max(ended.values())) if ended else None
    running = idle is not None and idle < pause and len(stats) < plan.n_units
    units = _since_pause(output, pause)
    speed = rate(units, units[-1].at) if units else Rate(0.0, 0.0)
    aside = sum(len(plan.unit(int(shard))) for shard in output.given_up)
    left = plan.total - sum(kept.values()) - sum(failed.values()) - aside
    return Status(
        name=context.spec.name,
        units=plan.n_units,
        units_done=len(stats),
        classes=classes,
        images_per_second=speed.images or None,
        eta_s=left / speed.slots if running and speed.slots else None,
        idle_s=idle,
        running=running,
        rejected=total_by_class(stats, "rejected"),
        failed=Counter(failure["reasons"][-1] for one in stats for failure in one["failures"]),
        quarantined=output.given_up,
        median_s=median,
        stragglers=_stragglers(output.stats, STRAGGLING * (median or 0.0)),
        seconds={stage: sum(one["seconds"][stage] for one in stats) for stage in STAGES},
        disk_bytes=sum(file["size"] for one in stats for file in one["files"]),
        cost=output.recorded.at_least(context.spec, seconds_of(stats)),
    )


def _stragglers(stats: Mapping[str, Stats], allowed: float) -> list[Straggler]:
    found = [Straggler(shard, float(one["duration_s"]), one["device"]) for shard, one in stats.items()]
    return sorted((one for one in found if one.seconds > allowed), key=lambda one: -one.seconds)


def _since_pause(output: Output, pause: float) -> list[Ended]:
    """The latest units, back to where none had ended for so many seconds."""
    units = sorted(Ended.of(output.stats[shard], at) for shard, at in output.ended.items())
    first = next((here for here in reversed(range(1, len(units))) if units[here].at - units[here - 1].at > pause), 0)
    return units[first:]


def _last_error(content: bytes) -> str:
    """`Kind: text` of the last error that a quarantine file tells of: the last line of its tracebacks of that form, for
    a text may have several lines."""
    try:
        found = _ERROR.findall("\n".join(json.loads(content)["attempts"]))
        return str(found[-1])
    except (ValueError, KeyError, IndexError, TypeError):
        return "unknown: its file is damaged"
