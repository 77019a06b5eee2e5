"""What the stats files of a folder add up to, in one pass and in memory that the number of images does not change."""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.profiling import DEVICE, HOST, STAGES
from shards.stats import Stats
from shards.storage.manifest import read_all_stats
from shards.storage.store import StoreLike

_EXAMPLES = 10


@dataclass(frozen=True)
class Failure:
    """A slot that no attempt could fill."""

    key: str
    class_name: str
    reasons: tuple[str, ...]


@dataclass
class RunTotals:
    """Sums over the finished shards of a folder.

    kept, failed: counts by class name. rejected: attempts that a filter turned down, by reason.
    strategies:   `planned` and `kept` by strategy of prompts.
    examples:     of failed slots, the first few.
    seconds:      time that units had their devices, added up. rates: images per second of each unit.
    stages:       seconds of each stage, see `engine.profiling`.
    devices, batch_sizes, models, licenses: how many units each stands for.
    versions:     of each package, every version that a unit was made with.
    shards_of:    for the classes asked about, the shards that hold at least one image.
    """

    shards_of: dict[str, list[str]]
    units: int = 0
    images: int = 0
    size: int = 0
    seconds: float = 0.0
    rates: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    kept: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    strategies: dict[str, Counter[str]] = field(default_factory=dict)
    examples: list[Failure] = field(default_factory=list)
    devices: Counter[str] = field(default_factory=Counter)
    batch_sizes: Counter[int] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    versions: dict[str, set[str]] = field(default_factory=dict)

    @property
    def attempts(self) -> int:
        """Images that were made, kept or not."""
        return self.images + self.rejected.total()

    @property
    def median_rate(self) -> float:
        """Images per second of the unit in the middle; only where there is a unit with a rate."""
        return statistics.median(self.rates)

    @property
    def on_device(self) -> dict[str, float]:
        """Seconds of the stages that follow each other on a device, and of its waiting; those that took some."""
        return {name: self.stages[name] for name in (*DEVICE, "wait") if self.stages[name]}

    @property
    def beside(self) -> dict[str, float]:
        """Seconds that threads of the host were at work meanwhile."""
        return {name: self.stages[name] for name in HOST if self.stages[name]}

    def add(self, shard: str, stats: Stats) -> None:
        """Count one shard."""
        self.units += 1
        self.images += stats["count"]
        self.size += sum(file["size"] for file in stats["files"])
        self.kept.update(stats["kept"])
        self.failed.update(stats["failed"])
        self.rejected.update(stats["rejected"])
        for name, counts in stats.get("strategies", {}).items():
            self.strategies.setdefault(name, Counter()).update(counts)
        for one in stats["failures"][: _EXAMPLES - len(self.examples)]:
            self.examples.append(Failure(one["key"], one["class_name"], tuple(one["reasons"])))
        for name, shards in self.shards_of.items():
            if stats["kept"].get(name):
                shards.append(shard)
        if "duration_s" in stats:  # a shard of real images was not generated
            self._add_making(stats)

    def _add_making(self, stats: Stats) -> None:
        self.seconds += stats["duration_s"]
        for stage, seconds in stats["seconds"].items():
            self.stages[stage] += seconds
        self.rates.append(stats["images_per_second"])
        self.devices[stats["device"]] += 1
        self.batch_sizes[stats["batch_size"]] += 1
        self.models[stats["model"]] += 1
        self.licenses[stats["license"]] += 1
        for package, version in stats["versions"].items():
            self.versions.setdefault(package, set()).add(version)


def tally(place: StoreLike, asked: Iterable[str] = ()) -> RunTotals:
    """Add up the stats files of a place, none if it is not there. asked: classes whose shards are to be known."""
    total = RunTotals({name: [] for name in asked})
    for shard, stats in read_all_stats(place).items():
        total.add(shard, stats)
    return total
