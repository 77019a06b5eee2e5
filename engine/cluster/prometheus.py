"""Prometheus metrics of a run, on the metrics port of the driver's node.

Ray adds the prefix `ray_` to each name and the suffix `_total` to those of counters. It also exports how busy each GPU
is (`ray_node_gpus_utilization`). `jobs/grafana.json` is a dashboard of these metrics.
"""

from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge

from engine.monitoring.budget import CostMeter
from engine.monitoring.listener import Listener
from engine.run.run_context import RunContext
from shards.stats import Stats

_RUN = "run"


class PrometheusMetrics(Listener):
    """A listener of the driver that counts what this command does, and shows the state of the run.

    Each metric has the label `run`, the spec's name. Ray must be connected.

    finished: the stats of the units that were finished before this command.
    """

    def __init__(self, context: RunContext, finished: Iterable[Stats], meter: CostMeter) -> None:
        self._tags, self._meter = {_RUN: context.spec.name}, meter
        self._total_images = sum(stats["count"] for stats in finished)
        self._images = self._counter("images", "Images kept")
        self._rejects = self._counter("rejects", "Images rejected, by reason", "reason")
        self._slots_failed = self._counter("slots_failed", "Slots for which every attempt was rejected")
        self._units = self._counter("units", "Units finished")
        self._units_failed = self._counter("units_failed", "Units quarantined, by kind of error", "reason")
        self._unit_seconds = self._counter("unit_seconds", "Device seconds of finished units")
        self._stage_seconds = self._counter(
            "stage_seconds",
            "Seconds of finished units by stage: `wait` of the device; `encode` and `commit` of threads",
            "stage",
        )
        self._planned = self._gauge("images_planned", "Images of the plan")
        self._kept = self._gauge("images_made", "Images kept, including those of earlier commands")
        self._actors = self._gauge("actors", "Actors with a loaded model")
        self._loading = self._gauge("actors_loading", "Actors that load the model or wait for a node")
        self._waiting = self._gauge("units_waiting", "Units that are assigned to no actor")
        self._hours = self._gauge("device_hours", "GPU hours of the run so far; actor hours on CPUs")
        self._dollars = self._gauge("dollars", "Cost of the run so far")
        self._planned.set(context.plan.total)

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""
        self._total_images += stats["count"]
        self._units.inc()
        # Ray's counters refuse an increment of 0.
        self._unit_seconds.inc(max(stats["duration_s"], 1e-9))
        if stats["count"]:
            self._images.inc(stats["count"])
        if stats["failures"]:
            self._slots_failed.inc(len(stats["failures"]))
        for stage, seconds in stats["seconds"].items():
            if seconds:
                self._stage_seconds.inc(seconds, {"stage": stage})
        for reason, count in stats["rejected"].items():
            self._rejects.inc(count, {"reason": reason})

    def unit_failed(self, reason: str, slots: int) -> None:
        """See `Listener`."""
        # Only the kind of error: each value of a label is a series of its own, and texts may differ each time.
        self._units_failed.inc(tags={"reason": reason.partition(":")[0]})

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """See `Listener`."""
        self._kept.set(self._total_images)
        self._actors.set(actors)
        self._loading.set(loading)
        self._waiting.set(waiting)
        cost = self._meter.cost
        self._hours.set(cost.hours)
        self._dollars.set(cost.dollars)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        counter = Counter(f"shardmill_{name}", description, (_RUN, *labels))
        counter.set_default_tags(self._tags)
        return counter

    def _gauge(self, name: str, description: str) -> Gauge:
        gauge = Gauge(f"shardmill_{name}", description, (_RUN,))
        gauge.set_default_tags(self._tags)
        return gauge
