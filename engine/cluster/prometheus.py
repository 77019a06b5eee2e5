"""Prometheus metrics of a generation, on the metrics port of the driver's node.

Ray puts `ray_` before each name and `_total` behind those of counters, and adds how busy each node's GPUs are
(`ray_node_gpus_utilization`). `jobs/grafana.json` is a dashboard of them.
"""

from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge

from engine.monitoring.budget import Meter
from engine.run.run_context import RunContext
from shards.stats import Stats

_RUN = "run"


class Metrics:
    """A listener of the driver: counters of what this command does, and gauges of how the run stands.

    Each has the label `run`, the spec's name. Ray must be connected. done: units that were finished before.
    """

    def __init__(self, recipe: RunContext, done: Iterable[Stats], meter: Meter) -> None:
        self._tags, self._meter = {_RUN: recipe.spec.name}, meter
        self._made = sum(stats["count"] for stats in done)
        self._images = self._counter("images", "Images kept")
        self._rejects = self._counter("rejects", "Images that were turned down, by reason", "reason")
        self._slots_failed = self._counter("slots_failed", "Slots that no attempt could fill")
        self._units = self._counter("units", "Units finished")
        self._units_failed = self._counter("units_failed", "Units given up, by kind of error", "reason")
        self._unit_seconds = self._counter("unit_seconds", "Seconds that finished units had their devices")
        self._stage_seconds = self._counter(
            "stage_seconds",
            "Seconds of finished units by stage: `wait` of the device; `encode` and `commit` of threads",
            "stage",
        )
        self._planned = self._gauge("images_planned", "Images of the plan")
        self._kept = self._gauge("images_made", "Images kept, by earlier commands as well")
        self._actors = self._gauge("actors", "Actors with their model loaded")
        self._loading = self._gauge("actors_loading", "Actors that load their model, or wait for a node")
        self._waiting = self._gauge("units_waiting", "Units that no actor has")
        self._hours = self._gauge("device_hours", "GPU hours of the run so far; hours of actors on CPUs")
        self._dollars = self._gauge("dollars", "What they cost")
        self._planned.set(recipe.plan.total)

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""
        self._made += stats["count"]
        self._units.inc()
        self._unit_seconds.inc(max(stats["duration_s"], 1e-9))
        for counter, count in (
            (self._images, stats["count"]),
            (self._slots_failed, len(stats["failures"])),
        ):
            if count:
                counter.inc(count)
        for stage, seconds in stats["seconds"].items():
            if seconds:
                self._stage_seconds.inc(seconds, {"stage": stage})
        for reason, count in stats["rejected"].items():
            self._rejects.inc(count, {"reason": reason})

    def unit_failed(self, reason: str, slots: int) -> None:
        """See `Listener`."""
        # The kind alone: a text may differ each time, and each value of a label is a series of its own.
        self._units_failed.inc(tags={"reason": reason.partition(":")[0]})

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """See `Listener`."""
        self._kept.set(self._made)
        self._actors.set(actors)
        self._loading.set(loading)
        self._waiting.set(waiting)
        cost = self._meter.cost
        self._hours.set(cost.hours)
        self._dollars.set(cost.dollars)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        counter = Counter(f"shardmill_{name}", text, (_RUN, *labels))
        counter.set_default_tags(self._tags)
        return counter

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"shardmill_{name}", text, (_RUN,))
        gauge.set_default_tags(self._tags)
        return gauge
