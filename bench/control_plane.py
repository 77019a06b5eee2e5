"""`python -m bench control-plane`: the load of 1,000 actors and 10,000,000 images on the driver and on the store.

The real driver processes 10,000 units. The actors are simulated by one asynchronous Ray actor: each call waits for a
second and returns the stats of a real unit. So each unit passes through Ray and the driver's loop at their full speed,
and the processor time per unit is measured. A real actor takes minutes for a unit; `_estimate` computes the load of
1,000 real actors from these figures.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import psutil
import yaml

from bench.machine import ROOT, machine
from bench.s3_server import S3, serve_s3
from engine.cluster.assignments import UNITS_PER_ACTOR
from engine.config.spec_file import load_spec
from engine.generators.generator import load_generator
from engine.monitoring.run_progress import RunProgress
from engine.run.run import Run, begin_run, plan_run
from engine.worker.runner import run_unit
from shards.stats import STATS_SUFFIX, Stats

ACTORS, IMAGES, PER_SHARD = 1_000, 10_000_000, 1_000
IMAGES_PER_S = 10.0
"""Assumed rate of a real actor: 512x512 images at a few steps on one GPU."""
_UNIT_S = 1.0
_REAL_UNITS = 3
_PUT_THREADS = 16


def main(out: Path, work: Path | None) -> None:
    with TemporaryDirectory(dir=work) as temporary, serve_s3() as store:
        folder = Path(temporary)
        with store.environment(SHARDMILL_CACHE=str(folder / "cache")):
            store.make_bucket("large")
            stats, requests_per_unit = _real_units(folder, store)
            driver = drive(_begin(folder, folder / "run", IMAGES), stats)
            listing = {
                "folder": _resume(_begin(folder, folder / "run", IMAGES), stats, lambda: 0),
                "S3": _resume(_begin(folder, "s3://large/run", IMAGES), stats, lambda: len(store.requests())),
            }
    result = {"actors": ACTORS, "images": IMAGES, "units": IMAGES // PER_SHARD, "requests_per_unit": requests_per_unit}
    result |= {
        "driver": driver,
        "resume": listing,
        "on_paper": _estimate(driver, requests_per_unit),
        "machine": machine(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "control_plane.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / "control_plane.md").write_text(_table(result), encoding="utf-8")
    print(_table(result))


def _begin(folder: Path, place: Path | str, images: int) -> Run:
    """Begin a run of `images` images with the demo's model and prompts, without its real data."""
    content = yaml.safe_load((ROOT / "jobs/specs/digits.yaml").read_text(encoding="utf-8"))
    del content["data"], content["sweep"]
    content |= {"classes": [str(digit) for digit in range(10)], "plan": {"total": images}}
    content |= {"cluster": {"min_actors": 1, "max_actors": ACTORS}}
    content["output"]["samples_per_shard"] = PER_SHARD
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(content), encoding="utf-8")
    return begin_run(plan_run(load_spec(spec)), place)


def _real_units(folder: Path, store: S3) -> tuple[Stats, dict[str, float]]:
    """Run a few real units; return the stats of one and the mean number of requests per unit by HTTP method."""
    run = _begin(folder, "s3://large/real", _REAL_UNITS * PER_SHARD)
    spec = run.context.spec
    generator = load_generator(spec.model, spec.output.image, spec.cluster)
    before = Counter(request.method for request in store.requests())
    stats = [run_unit(run.context, number, generator, run.shards) for number in range(_REAL_UNITS)]
    after = Counter(request.method for request in store.requests())
    return stats[-1], {method: count / _REAL_UNITS for method, count in (after - before).items()}


def drive(run: Run, stats: Stats) -> dict[str, float]:
    """Run the driver over all units of a run with simulated actors; return its processor time, rate and memory."""
    import ray

    from engine.cluster import driver
    from engine.cluster.actor_pool import ActorPool
    from engine.cluster.assignments import ActorHandle

    @ray.remote(num_cpus=0, max_concurrency=UNITS_PER_ACTOR * ACTORS)
    class Simulator:
        async def node(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

        async def load(self) -> str:
            return "a simulated device"

        async def generate_unit(self, number: int) -> Stats:
            import asyncio

            await asyncio.sleep(_UNIT_S)
            return stats | {"unit": number}

        async def cancel_unit(self, number: int) -> None:
            """Ignore the call: all assigned units are already running."""

    class SimulatedPool(ActorPool):
        def start(self, count: int, avoided_nodes: Collection[str]) -> None:
            for _ in range(count):
                actor = ActorHandle(simulator, simulator.node.remote(), stats["batch_size"])
                self.loading[simulator.load.remote()] = actor

        def _kill_process(self, actor: ActorHandle) -> None:
            """Ignore the call: one process simulates all actors."""

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        simulator = Simulator.remote()
        ray.get(simulator.node.remote())
        progress = RunProgress(run.context.plan.classes, run.context.plan.quotas, [])
        memory, cpu, wall = psutil.Process().memory_info().rss, time.process_time(), time.monotonic()
        with patch.object(driver, "ActorPool", SimulatedPool):
            driver.generate(run, progress)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        memory_growth = psutil.Process().memory_info().rss - memory
        ray_cpu = _time_ray_alone(simulator, run.context.plan.n_units)
    finally:
        ray.shutdown()
    units = run.context.plan.n_units
    return {
        "cpu_ms_per_unit": round(1000 * cpu / units, 2),
        "ray_alone_ms_per_unit": round(1000 * ray_cpu / units, 2),
        "units_per_s": round(units / wall, 1),
        "memory_grown_mb": round(memory_growth / 1e6, 1),
    }


def _time_ray_alone(simulator: Any, units: int) -> float:
    """Return the processor seconds of the same calls in a loop that only waits for results, as the driver does."""
    import ray

    from engine.cluster.actor_pool import wait_for_results

    cpu, numbers, done = time.process_time(), iter(range(units)), 0
    running = {simulator.generate_unit.remote(number) for number in islice(numbers, UNITS_PER_ACTOR * ACTORS)}
    while running:
        ready = wait_for_results(list(running), _UNIT_S)
        for ref in ready:
            done += bool(ray.get(ref)["count"])
        running.difference_update(ready)
        running.update(simulator.generate_unit.remote(number) for number in islice(numbers, len(ready)))
    assert done == units
    return time.process_time() - cpu


def _resume(run: Run, stats: Stats, requests: Callable[[], int]) -> dict[str, float]:
    """Measure how long a finished run takes to resume (list shards) and to count (read stats).

    requests: returns the number of requests so far.
    """
    _write_finished_units(run, stats)
    costs: dict[str, float] = {}
    for name, action in (("list", run.pending), ("read_stats", run.stats)):
        before, began = requests(), time.monotonic()
        action()
        costs[f"{name}_s"] = round(time.monotonic() - began, 2)
        costs[f"{name}_requests"] = max(0, requests() - before)
    return costs


def _write_finished_units(run: Run, stats: Stats) -> None:
    """Write the files of every unit. Tar and index are empty: resuming only lists them."""
    plan = run.context.plan

    def finish(number: int) -> None:
        name = plan.shard_name(number)
        kinds = ("tar", "parquet")
        files = [file | {"name": f"{name}.{kind}"} for file, kind in zip(stats["files"], kinds, strict=True)]
        for kind in kinds:
            run.shards.replace(f"{name}.{kind}", b"")
        content = stats | {"unit": number, "files": files}
        run.shards.replace(f"{name}{STATS_SUFFIX}", (json.dumps(content, indent=1) + "\n").encode())

    with ThreadPoolExecutor(_PUT_THREADS) as pool:
        list(pool.map(finish, range(plan.n_units)))


def _estimate(driver: dict[str, float], requests_per_unit: dict[str, float]) -> dict[str, float]:
    """Compute the load of ACTORS real actors that make IMAGES_PER_S images per second each."""
    units_per_s = ACTORS * IMAGES_PER_S / PER_SHARD
    return {
        "images_per_s_of_an_actor": IMAGES_PER_S,
        "hours": round(IMAGES / (ACTORS * IMAGES_PER_S) / 3600, 2),
        "units_per_s": units_per_s,
        "share_of_a_core": round(units_per_s * driver["cpu_ms_per_unit"] / 1000, 3),
        "requests_per_s": round(units_per_s * sum(requests_per_unit.values()), 1),
        "actors_at_a_full_core": round(1000 / driver["cpu_ms_per_unit"] / (IMAGES_PER_S / PER_SHARD)),
    }


def _table(result: dict[str, Any]) -> str:
    estimate, driver, resume = result["on_paper"], result["driver"], result["resume"]
    requests = ", ".join(f"{count:g} {method}" for method, count in sorted(result["requests_per_unit"].items()))
    rows = {
        "driver, CPU for a unit": f"{driver['cpu_ms_per_unit']:g} ms",
        "Ray alone, for the same calls": f"{driver['ray_alone_ms_per_unit']:g} ms",
        "driver, most units/s on this machine": f"{driver['units_per_s']:,g}",
        "driver, memory grown over the run": f"{driver['memory_grown_mb']:g} MB",
        "store, requests for a unit": requests,
        "resume, listing a folder": f"{resume['folder']['list_s']:g} s",
        "resume, listing S3 (moto)": f"{resume['S3']['list_s']:g} s, {resume['S3']['list_requests']:g} requests",
        "counting what was made, a folder": f"{resume['folder']['read_stats_s']:g} s",
        "counting what was made, S3 (moto)": (
            f"{resume['S3']['read_stats_s']:g} s, {resume['S3']['read_stats_requests']:,g} requests"
        ),
        f"on paper, at {estimate['images_per_s_of_an_actor']:g} images/s of an actor": (
            f"{estimate['hours']:g} hours, {estimate['units_per_s']:g} units/s"
        ),
        "the driver then needs of a core": f"{100 * estimate['share_of_a_core']:.1f}%",
        "the store then gets": f"{estimate['requests_per_s']:g} requests/s",
        "one core of the driver is enough for": f"{estimate['actors_at_a_full_core']:,} such actors",
    }
    lines = [
        f"`python -m bench control-plane`: {result['actors']:,} simulated actors, {result['images']:,} images in",
        f"{result['units']:,} units. Driver, run and store are real.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        f"Machine: {json.dumps(result['machine'])}",
        "",
    ]
    return "\n".join(lines)
