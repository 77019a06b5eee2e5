"""B8: the cost of a large run for its driver: planning, assigning units and resuming."""

import io
import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from bench import control_plane
from bench.throughput.fake_device import FakeDevice, FakeSettings, fake_run
from bench.throughput.rounds import Options
from bench.throughput.row import OURS, Row, at_most, paired
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.run.plan import Plan
from engine.run.run import Run
from engine.worker.runner import run_unit
from shards.stats import STATS_SUFFIX, Stats

PLANNED, SMALL_PLAN, LOOKED_UP = 100_000_000, 1_000_000, 1_000
ASSIGNED, PER_SHARD = 10_000, 1_000
LISTED = 100_000
ROUNDS = 3
MS_PER_UNIT, LISTING_S = 1.0, 10.0


def measure(options: Options) -> Iterator[Row]:
    yield from _planned(options.pick(PLANNED, 1_000_000), options.pick(SMALL_PLAN, 10_000), options.pick(ROUNDS, 1))
    stats = _stats(options.folder)
    yield from _assigned(options, stats)
    yield from _listed(options, stats)


def _planned(images: int, small_images: int, rounds: int) -> Iterator[Row]:
    large, small = ([_plan_memory(count) for _ in range(rounds)] for count in (images, small_images))
    workload = f"{images:,} images planned, {LOOKED_UP:,} of them looked up"
    memory = [kilobytes for kilobytes, _ in large]
    ratio = max(kilobytes for kilobytes, _ in small) / max(memory)
    baseline = f"{small_images:,} images, whose plan takes as much if its memory is constant"
    yield Row("B8", workload, OURS, "KB at most", tuple(memory), ratio, baseline, 0.9)
    yield Row("B8", workload, OURS, "s", tuple(seconds for _, seconds in large))


def _plan_memory(images: int) -> tuple[float, float]:
    """Plan this many images and look up random slots; return the peak memory in kilobytes, and the seconds."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        plan = _run("", images).context.plan
        for index in np.random.default_rng(0).integers(images, size=LOOKED_UP).tolist():
            plan.seed_of(plan.slot(index), 0)
        return tracemalloc.get_traced_memory()[1] / 1e3, time.perf_counter() - began
    finally:
        tracemalloc.stop()


def _assigned(options: Options, stats: Stats) -> Iterator[Row]:
    """Measure the processor time of the real driver with simulated actors."""
    units = options.pick(ASSIGNED, 200)
    run = _run(str(options.folder / "assigned"), units * PER_SHARD)
    with redirect_stdout(io.StringIO()):  # the driver prints a line for each actor
        results = [control_plane.drive(run, stats) for _ in range(options.pick(ROUNDS, 1))]
    workload = f"{units:,} units leased and finished, {control_plane.ACTORS:,} simulated actors"
    unit, least = "ms of a core a unit", min(result["units_per_s"] for result in results)
    note = f"at least {least:,.0f} units/s on this machine, memory grown by {results[0]['memory_grown_mb']:g} MB"
    ours, ray_alone = ([result[name] for result in results] for name in ("cpu_ms_per_unit", "ray_alone_ms_per_unit"))
    yield at_most("B8", workload, ours, unit, MS_PER_UNIT, note)
    yield Row("B8", workload, "Ray alone, for the calls", unit, tuple(ray_alone), paired(ours, ray_alone), OURS)


def _listed(options: Options, stats: Stats) -> Iterator[Row]:
    """Measure resuming a run of which all units but one are finished."""
    units = options.pick(LISTED, 500)
    run = _run(str(options.folder / "listed"), units * PER_SHARD)
    _write_finished_units(run.context.plan, Path(str(run.shards.local)), stats)
    seconds = []
    for _ in range(options.pick(ROUNDS, 1)):
        began = time.perf_counter()
        assert run.pending() == [units - 1]
        seconds.append(time.perf_counter() - began)
    workload = f"{units:,} shards in a folder"
    yield at_most("B8", f"{workload}: listed, to resume", seconds, "s", LISTING_S)
    began = time.perf_counter()
    assert len(run.stats()) == units - 1
    yield Row("B8", f"{workload}: all their stats read, to count", OURS, "s", (time.perf_counter() - began,))


def _run(place: str, images: int) -> Run:
    cluster = ClusterSpec(min_actors=1, max_actors=control_plane.ACTORS)
    return fake_run(place, images, OutputSpec(samples_per_shard=PER_SHARD), cluster, FakeSettings())


def _stats(folder: Path) -> Stats:
    """Run a unit on the fake device and return its stats."""
    model, output = FakeSettings(seconds=0.0, side=64, batch_size=50), OutputSpec(samples_per_shard=PER_SHARD)
    run = fake_run(str(folder / "unit"), PER_SHARD, output, ClusterSpec(), model)
    return run_unit(run.context, 0, FakeDevice(model, ImageSpec(), run.context.spec.cluster), run.shards)


def _write_finished_units(plan: Plan, folder: Path, stats: Stats) -> None:
    """Write the files of all units but the last. Tar and index are empty: resuming only lists them."""
    folder.mkdir(parents=True)
    for number in range(plan.n_units - 1):
        name = plan.shard_name(number)
        kinds = ("tar", "parquet")
        files = [file | {"name": f"{name}.{kind}"} for file, kind in zip(stats["files"], kinds, strict=True)]
        (folder / f"{name}{STATS_SUFFIX}").write_text(json.dumps(stats | {"unit": number, "files": files}))
        for kind in kinds:
            (folder / f"{name}.{kind}").touch()
