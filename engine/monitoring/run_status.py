"""The status of a run, read from its output alone. The driver is not asked; it may be on another machine, or gone."""

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from engine.config.strict import Strict
from engine.monitoring.budget import Cost, read_cost, total_duration
from engine.monitoring.throughput import FinishedUnit, Throughput, throughput
from engine.profiling import DEVICE, STAGES
from engine.run.run import Run
from engine.run.run_context import RunContext
from shards.stats import STATS_SUFFIX, Stats, total_by_class
from shards.storage.manifest import finished_shards

STRAGGLER_FACTOR = 3.0
"""A unit that took longer than so many times the median is a straggler."""
_MIN_PAUSE_S = 60.0
_ERROR_LINE = re.compile(r"^(?:\w+\.)*(\w+: .*)$", re.MULTILINE)


class ClassProgress(Strict):
    """The counts of one class."""

    name: str
    planned: int
    kept: int
    failed: int


class Straggler(Strict):
    """A unit that took far longer than most."""

    shard: str
    seconds: float
    device: str


class RunStatus(Strict):
    """The status of a run.

    units, units_done: units of the plan, and finished units.
    images_per_second: over the latest units, back to the last pause.
    eta_s:        seconds until the run is complete, by the rate of slots; None if it is not running or has no rate.
    idle_s:       seconds since the last unit was finished, by the clock of the store; None if no unit is finished.
    running:      whether units are left and `idle_s` is shorter than a pause.
    rejected:     rejected attempts by reason.
    failed:       failed slots by their last reason.
    quarantined:  the last error of each quarantined unit, by shard name.
    median_s:     median duration of a unit.
    stragglers:   the slowest first.
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
    cost: Annotated[Cost, Field(exclude=True)]

    @property
    def wait_share(self) -> float | None:
        """The share of device time in which the device waited; None before the first unit."""
        on_device = sum(self.seconds[stage] for stage in (*DEVICE, "wait"))
        return self.seconds["wait"] / on_device if on_device else None

    @property
    def complete(self) -> bool:
        """Return whether every unit is finished."""
        return self.units_done == self.units

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return self.model_dump(mode="json") | {"complete": self.complete} | self.cost.as_json()


@dataclass(frozen=True)
class RunOutput:
    """Stats of the finished units, when they ended (seconds since 1970), quarantine errors and cost."""

    stats: Mapping[str, Stats]
    ended_at: Mapping[str, float]
    quarantined: Mapping[str, str]
    recorded: Cost


def read_status(run: Run, now: float) -> RunStatus:
    """Return the status of a run. now: seconds since 1970. Raises ShardError if the output cannot be read."""
    stats = run.stats()
    modified = {name: entry.modified for name, entry in run.shards.entries().items()}
    ended_at = {shard: modified.get(f"{shard}{STATS_SUFFIX}", now) for shard in stats}
    return summarize(run.context, RunOutput(stats, ended_at, quarantined(run), read_cost(run.store)), now)


def quarantined(run: Run) -> dict[str, str]:
    """Return the last error of each unit that was quarantined and is not finished since, by shard name."""
    folder, finished = run.store / "quarantine", set(finished_shards(run.shards))
    shards = [shard for name in folder.entries() if (shard := name.removesuffix(".json")).isdecimal()]
    return {shard: _last_error(folder.read(f"{shard}.json")) for shard in shards if shard not in finished}


def summarize(context: RunContext, output: RunOutput, now: float) -> RunStatus:
    """Compute the status from a run's output; see `read_status`."""
    plan, stats, ended_at = context.plan, list(output.stats.values()), output.ended_at
    kept, failed = (total_by_class(stats, kind) for kind in ("kept", "failed"))
    median = statistics.median(float(unit["duration_s"]) for unit in stats) if stats else None
    allowed = STRAGGLER_FACTOR * (median or 0.0)
    # With several actors, units end more often than one takes. With one actor, only stragglers take this long.
    pause = max(_MIN_PAUSE_S, allowed)
    idle = max(0.0, now - max(ended_at.values())) if ended_at else None
    running = idle is not None and idle < pause and len(stats) < plan.n_units
    units = _units_since_pause(output, pause)
    rate = throughput(units, units[-1].ended_at) if units else Throughput(0.0, 0.0)
    quarantined_slots = sum(len(plan.unit(int(shard))) for shard in output.quarantined)
    remaining = plan.total - sum(kept.values()) - sum(failed.values()) - quarantined_slots
    return RunStatus(
        name=context.spec.name,
        units=plan.n_units,
        units_done=len(stats),
        classes=[
            ClassProgress(name=name, planned=quota, kept=kept.get(name, 0), failed=failed.get(name, 0))
            for name, quota in zip(plan.classes, plan.quotas, strict=True)
        ],
        images_per_second=rate.images or None,
        eta_s=remaining / rate.slots if running and rate.slots else None,
        idle_s=idle,
        running=running,
        rejected=total_by_class(stats, "rejected"),
        failed=Counter(failure["reasons"][-1] for unit in stats for failure in unit["failures"]),
        quarantined=output.quarantined,
        median_s=median,
        stragglers=_stragglers(output.stats, allowed),
        seconds={stage: sum(unit["seconds"][stage] for unit in stats) for stage in STAGES},
        disk_bytes=sum(file["size"] for unit in stats for file in unit["files"]),
        cost=output.recorded.at_least(context.spec, total_duration(stats)),
    )


def _stragglers(stats: Mapping[str, Stats], allowed_s: float) -> list[Straggler]:
    units = [(float(unit["duration_s"]), shard, unit["device"]) for shard, unit in stats.items()]
    slow = sorted((unit for unit in units if unit[0] > allowed_s), key=lambda unit: -unit[0])
    return [Straggler(shard=shard, seconds=seconds, device=device) for seconds, shard, device in slow]


def _units_since_pause(output: RunOutput, pause: float) -> list[FinishedUnit]:
    """Return the latest units, back to the last time in which no unit ended for so many seconds."""
    units = sorted(FinishedUnit.of(output.stats[shard], ended_at) for shard, ended_at in output.ended_at.items())
    gaps = [later.ended_at - earlier.ended_at for earlier, later in pairwise(units)]
    return units[max((number for number, gap in enumerate(gaps, 1) if gap > pause), default=0) :]


def _last_error(content: bytes) -> str:
    """Return `Kind: text` of the last error in a quarantine file."""
    try:
        # The last line of this form in the tracebacks, because the text of an error may have several lines.
        errors = _ERROR_LINE.findall("\n".join(json.loads(content)["attempts"]))
        return str(errors[-1])
    except (ValueError, KeyError, IndexError, TypeError):
        return "unknown: its file is damaged"
