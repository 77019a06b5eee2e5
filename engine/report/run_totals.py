"""Sums over the stats files of a folder, in one pass and in memory that does not depend on the number of images."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.profiling import DEVICE, HOST, STAGES
from engine.run.plan import Plan
from shards.stats import Stats
from shards.storage.manifest import read_all_stats
from shards.storage.store import StoreLike

_EXAMPLES = 10


@dataclass
class RunTotals:
    """Sums over the finished shards of a folder.

    shards_by_class: shards that hold an image of the class, for the classes that were asked for.
    rejected: attempts by reason. strategies: `planned` and `kept` by prompt strategy. failed_slots: the first few.
    seconds: sum of the times in which units had their device; stage_seconds: by stage, see `engine.profiling`.
    rates: images per second of each unit. devices, batch_sizes, models, licenses: number of units by each value.
    """

    shards_by_class: dict[str, list[str]]
    units: int = 0
    images: int = 0
    size: int = 0
    seconds: float = 0.0
    rates: list[float] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    kept: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    strategies: dict[str, Counter[str]] = field(default_factory=dict)
    failed_slots: list[Stats] = field(default_factory=list)
    devices: Counter[str] = field(default_factory=Counter)
    batch_sizes: Counter[int] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    versions: dict[str, set[str]] = field(default_factory=dict)

    @property
    def attempts(self) -> int:
        """Number of images that were made, kept or rejected."""
        return self.images + self.rejected.total()

    @property
    def median_rate(self) -> float:
        """Median of the units' images per second. Raises StatisticsError without units."""
        return statistics.median(self.rates)

    @property
    def device_stages(self) -> dict[str, float]:
        """Seconds of each stage on the device and of its idle time; stages that took no time are left out."""
        return {name: self.stage_seconds[name] for name in (*DEVICE, "wait") if self.stage_seconds[name]}

    @property
    def host_stages(self) -> dict[str, float]:
        """Seconds of each stage of concurrent host threads; stages that took no time are left out."""
        return {name: self.stage_seconds[name] for name in HOST if self.stage_seconds[name]}

    def add(self, shard: str, stats: Stats) -> None:
        """Add one shard."""
        self.units += 1
        self.images += stats["count"]
        self.size += sum(file["size"] for file in stats["files"])
        self.kept.update(stats["kept"])
        self.failed.update(stats["failed"])
        self.rejected.update(stats["rejected"])
        for name, counts in stats.get("strategies", {}).items():
            self.strategies.setdefault(name, Counter()).update(counts)
        self.failed_slots += stats["failures"][: _EXAMPLES - len(self.failed_slots)]
        for name, shards in self.shards_by_class.items():
            if stats["kept"].get(name):
                shards.append(shard)
        if "duration_s" in stats:  # shards of real images were not generated
            self._add_generation(stats)

    def _add_generation(self, stats: Stats) -> None:
        self.seconds += stats["duration_s"]
        for stage, seconds in stats["seconds"].items():
            self.stage_seconds[stage] += seconds
        self.rates.append(stats["images_per_second"])
        self.devices[stats["device"]] += 1
        self.batch_sizes[stats["batch_size"]] += 1
        self.models[stats["model"]] += 1
        self.licenses[stats["license"]] += 1
        for package, version in stats["versions"].items():
            self.versions.setdefault(package, set()).add(version)


def sum_stats(place: StoreLike, classes: Iterable[str] = ()) -> RunTotals:
    """Return the sums over the stats files of a place, which may not exist. classes: those of `shards_by_class`."""
    totals = RunTotals({name: [] for name in classes})
    for shard, stats in read_all_stats(place).items():
        totals.add(shard, stats)
    return totals


@dataclass(frozen=True)
class ClassCount:
    """Images of one class. real: real training images."""

    name: str
    real: int
    planned: int
    kept: int
    failed: int


def count_classes(plan: Plan, totals: RunTotals) -> list[ClassCount]:
    """Return the counts of each class, in label order."""
    return [
        ClassCount(name, real, planned, totals.kept[name], totals.failed[name])
        for name, real, planned in zip(plan.classes, plan.real, plan.quotas, strict=True)
    ]


def largest_classes(sizes: Sequence[int], count: int) -> list[int]:
    """Return the labels of the `count` largest classes, in label order."""
    return sorted(sorted(range(len(sizes)), key=lambda label: -sizes[label])[:count])
