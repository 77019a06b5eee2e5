"""B8: what a run asks of its driver as it grows: planning, leasing and resuming."""

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

PLANNED, BESIDE, LOOKED_UP = 100_000_000, 1_000_000, 1_000
LEASED, PER_SHARD = 10_000, 1_000
LISTED = 100_000
ROUNDS = 3
MS_PER_UNIT, LISTING_S = 1.0, 10.0


def measure(options: Options) -> Iterator[Row]:
    yield from _planned(options.pick(PLANNED, 1_000_000), options.pick(BESIDE, 10_000), options.pick(ROUNDS, 1))
    stats = _stats(options.folder)
    yield from _leased(options, stats)
    yield from _listed(options, stats)


def _planned(images: int, beside: int, rounds: int) -> Iterator[Row]:
    large, small = ([_plan_memory(count) for _ in range(rounds)] for count in (images, beside))
    workload = f"{images:,} images planned, {LOOKED_UP:,} of them looked up"
    memory = [kilobytes for kilobytes, _ in large]
    ratio = max(kilobytes for kilobytes, _ in small) / max(memory)
    beside_what = f"{beside:,} images, whose plan takes as much if its memory is constant"
    yield Row("B8", workload, OURS, "KB at most", tuple(memory), ratio, beside_what, 0.9)
    yield Row("B8", workload, OURS, "s", tuple(seconds for _, seconds in large))


def _plan_memory(images: int) -> tuple[float, float]:
    """The most kilobytes that a plan of so many took, with slots looked up all over it; and the seconds."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        plan = _run("", images).context.plan
        for index in np.random.default_rng(0).integers(images, size=LOOKED_UP).tolist():
            plan.seed_of(plan.slot(index), 0)
        return tracemalloc.get_traced_memory()[1] / 1e3, time.perf_counter() - began
    finally:
        tracemalloc.stop()


def _leased(options: Options, stats: Stats) -> Iterator[Row]:
    """The driver's own processor time, by the real driver with simulated actors."""
    units = options.pick(LEASED, 200)
    run = _run(str(options.folder / "leased"), units * PER_SHARD)
    with redirect_stdout(io.StringIO()):  # a line for each actor
        driven = [control_plane.drive(run, stats) for _ in range(options.pick(ROUNDS, 1))]
    workload = f"{units:,} units leased and finished, {control_plane.ACTORS:,} simulated actors"
    unit, least = "ms of a core a unit", min(one["units_per_s"] for one in driven)
    note = f"at least {least:,.0f} units/s on this machine, memory grown by {driven[0]['memory_grown_mb']:g} MB"
    ours, alone = ([one[name] for one in driven] for name in ("cpu_ms_per_unit", "ray_alone_ms_per_unit"))
    yield at_most("B8", workload, ours, unit, MS_PER_UNIT, note)
    yield Row("B8", workload, "Ray alone, for the calls", unit, tuple(alone), paired(ours, alone), OURS)


def _listed(options: Options, stats: Stats) -> Iterator[Row]:
    """Resuming a run whose units are all finished but one."""
    units = options.pick(LISTED, 500)
    run = _run(str(options.folder / "listed"), units * PER_SHARD)
    _pretend(run.context.plan, Path(str(run.shards.local)), stats)
    listing = []
    for _ in range(options.pick(ROUNDS, 1)):
        began = time.perf_counter()
        assert run.pending() == [units - 1]
        listing.append(time.perf_counter() - began)
    workload = f"{units:,} shards in a folder"
    yield at_most("B8", f"{workload}: listed, to resume", listing, "s", LISTING_S)
    began = time.perf_counter()
    assert len(run.stats()) == units - 1
    yield Row("B8", f"{workload}: all their stats read, to count", OURS, "s", (time.perf_counter() - began,))


def _run(place: str, images: int) -> Run:
    cluster = ClusterSpec(min_actors=1, max_actors=control_plane.ACTORS)
    return fake_run(place, images, OutputSpec(samples_per_shard=PER_SHARD), cluster, FakeSettings())


def _stats(folder: Path) -> Stats:
    """Return the stats of a real unit."""
    model, output = FakeSettings(seconds=0.0, side=64, batch_size=50), OutputSpec(samples_per_shard=PER_SHARD)
    run = fake_run(str(folder / "unit"), PER_SHARD, output, ClusterSpec(), model)
    return run_unit(run.context, 0, FakeDevice(model, ImageSpec(), run.context.spec.cluster), run.shards)


def _pretend(plan: Plan, folder: Path, stats: Stats) -> None:
    """The files of every unit but the last, tar and index empty: they are listed, and not read."""
    folder.mkdir(parents=True)
    for number in range(plan.n_units - 1):
        name = plan.shard_name(number)
        files = [one | {"name": f"{name}.{kind}"} for one, kind in zip(stats["files"], ("tar", "parquet"), strict=True)]
        (folder / f"{name}{STATS_SUFFIX}").write_text(json.dumps(stats | {"unit": number, "files": files}))
        for kind in ("tar", "parquet"):
            (folder / f"{name}.{kind}").touch()
