"""The metrics as Prometheus reads them from a running Ray, and their dashboard."""

import itertools
import json
import re
import time
import urllib.request
from typing import Any

import pytest
import ray

from engine.cluster.prometheus import PrometheusMetrics
from engine.monitoring.budget import CostMeter
from engine.run.run import Run
from tests.conftest import ROOT, start_ray
from tests.engine import small_run

_DEADLINE_S = 60.0
RAY_METRICS = {"ray_node_gpus_utilization"}
"""Metrics of Ray's agents about GPUs. A machine without a GPU exports none."""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads((ROOT / "jobs/grafana.json").read_text())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Return a scrape after one unit was finished, with rejections and a failed slot, and one was quarantined."""
    folder = tmp_path_factory.mktemp("run")
    begun = small_run.begin(folder, "budget.price_per_gpu_hour=36")
    plan = begun.context.plan
    hopeless = {plan.seed_of(plan.slot(0), attempt) for attempt in range(3)}
    run = small_run.make(begun, 0, 1, blank=lambda request: request.seed in hopeless)
    start_ray()
    _report(run)
    (node,) = ray.nodes()
    return _scrape(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")


def _report(run: Run) -> None:
    before, now = run.stats()["00001"] | {"duration_s": 50.0}, run.stats()["00000"]
    metrics = PrometheusMetrics(run.context, [before], CostMeter(run.context.spec, [before]))
    metrics.tick(actors=2, loading=1, waiting=4)
    metrics.unit_done(now | {"duration_s": 8.0, "seconds": {"denoise": 6.0, "decode": 0.0, "wait": 2.0}})
    metrics.unit_failed("ValueError: prompt 17 is bad", 6)
    metrics.tick(actors=2, loading=1, waiting=3)


def _scrape(url: str) -> Series:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=10) as answer:
            series = _parse(answer.read().decode())
        # Gauges and counters are sent in one report, so that of the last call comes with all others.
        if any(name.startswith("ray_shardmill_units_failed") for name, _ in series):
            return series
        time.sleep(0.2)
    raise AssertionError(f"{url} exports none of our metrics after {_DEADLINE_S:.0f} s")


def _parse(text: str) -> Series:
    lines = re.findall(r"^(ray_[a-zA-Z0-9_]+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    ours = ((name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), value) for name, labels, value in lines)
    return {
        (name, frozenset((key, value) for key, value in labels.items() if key in ("run", "reason", "stage"))): float(
            value
        )
        for name, labels, value in ours
    }


def value(exported: Series, name: str, **labels: str) -> float:
    return exported[f"ray_shardmill_{name}", frozenset({"run": "three", **labels}.items())]


def test_counters_and_gauges_hold_what_happened(exported: Series) -> None:
    assert value(exported, "images_total") == 5
    assert value(exported, "units_total") == 1
    assert value(exported, "rejects_total", reason="blank") == 3
    assert value(exported, "slots_failed_total") == 1
    assert value(exported, "units_failed_total", reason="ValueError") == 1, "the kind alone: texts differ each time"
    assert value(exported, "unit_seconds_total") == 8
    assert value(exported, "stage_seconds_total", stage="wait") == 2
    assert value(exported, "stage_seconds_total", stage="denoise") == 6
    assert value(exported, "images_planned") == 36
    assert value(exported, "images_made") == 11, "with the unit that was finished before"
    assert (value(exported, "actors"), value(exported, "actors_loading")) == (2, 1)
    assert value(exported, "units_waiting") == 3
    assert value(exported, "dollars") == pytest.approx(36 * value(exported, "device_hours"))
    assert value(exported, "device_hours") >= 50 / 3600


def test_the_dashboard_shows_all_that_is_exported(exported: Series, dashboard: dict[str, Any]) -> None:
    names = {name for name, _ in exported if name.startswith("ray_shardmill_")}
    metrics = {name for query in queries(dashboard) for name in re.findall(r"\bray_\w+", query)}
    assert metrics - RAY_METRICS <= names
    shown = {name.removesuffix("_total") for name in metrics}
    assert {name.removesuffix("_total") for name in names} <= shown


def test_ray_has_the_metric_that_the_dashboard_asks_for() -> None:
    from ray.dashboard.modules.reporter.reporter_agent import GPU_TAG_KEYS, METRICS_GAUGES

    assert {f"ray_{name}" for name in METRICS_GAUGES} >= RAY_METRICS
    assert {"ip", "GpuIndex"} <= set(GPU_TAG_KEYS)


def test_grafana_can_draw_the_dashboard(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        across, down = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = set(itertools.product(across, down))
        assert not cells & taken, f"{panel['title']} lies over another"
        assert max(x for x, _ in cells) < 24
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for query in queries(dashboard):
        assert query.count("(") == query.count(")")
        assert set(re.findall(r"\$(\w+)", query)) <= variables
        # A rate of a gauge, or the plain value of a counter that starts anew with each command, would mislead.
        assert all("_total" in inside for inside in re.findall(r"rate\(([^)]*)\)", query))


def queries(dashboard: dict[str, Any]) -> list[str]:
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return expressions + [
        variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"
    ]
