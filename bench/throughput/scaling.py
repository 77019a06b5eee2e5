"""B6: several actors, each with its own fake device, beside one actor; and a run with one actor killed half-way.

Fake devices sleep, so many of them fit on few cores. The benchmark measures the driver, the actors' work on the host
and the store at the rate of a real device. As in B1, the time ends with the last commit.
"""

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path

import psutil

from bench.throughput.fake_device import FakeSettings, fake_run
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, paired
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.run.run import Run

ACTORS, ROUNDS, TARGET = (1, 2, 4, 8), 3, 0.97
BATCH, BATCH_S, BATCHES, UNITS = 16, 0.2, 20, 4
"""Images of a batch; seconds of a batch; batches of a unit; units of an actor."""
ACTORS_OF_KILL = 4


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import connect

    actors, rounds, seconds = options.pick((ACTORS, ROUNDS, BATCH_S), ((1, 2), 1, 0.02))
    numbers = count()
    connect(max(*actors, ACTORS_OF_KILL))
    try:
        systems: Mapping[str, Callable[[], float]] = {
            str(number): partial(_rate, options.folder, numbers, number, seconds) for number in actors
        }
        rates = by_turns(systems, rounds)
        setting = f"fake devices of {1000 * seconds:g} ms a batch of {BATCH}, 64x64 PNG"
        for number in actors[1:]:
            figures = tuple(rates[str(number)])
            ratio = paired(figures, [number * rate for rate in rates["1"]])
            yield Row(
                "B6", f"{setting}: {number} actors", OURS, "images/s", figures, ratio, f"{number} times one", TARGET
            )
        yield _measure_kill(options.folder, seconds)
    finally:
        ray.shutdown()


def _run(place: Path, actors: int, model: FakeSettings) -> Run:
    output = OutputSpec(samples_per_shard=BATCH * BATCHES, image=ImageSpec(format="png"))
    cluster = ClusterSpec(min_actors=actors, max_actors=actors)
    return fake_run(str(place), actors * UNITS * BATCH * BATCHES, output, cluster, model)


def _rate(folder: Path, numbers: Iterator[int], actors: int, seconds: float) -> float:
    from bench.throughput.drive import Driven, drive

    model = FakeSettings(seconds=seconds, side=64, batch_size=BATCH)
    return drive(_run(folder / f"scaling-{next(numbers)}", actors, model), Driven()).rate


def _measure_kill(folder: Path, seconds: float) -> Row:
    """Count the units that run again after an actor is killed. Only the unit of that actor should."""
    from bench.throughput.drive import Driven, drive

    model = FakeSettings(seconds=seconds, side=64, batch_size=BATCH, log=str(folder / "batches.log"))
    run = _run(folder / "killed", ACTORS_OF_KILL, model)
    plan = run.context.plan
    victims: list[int] = []

    def kill_one(driven: Driven) -> None:
        if not victims and len(driven.stats) == plan.n_units // 2:
            victims.append(_kill_busy_actor())

    driven = drive(run, Driven(kill_one))
    assert driven.images == plan.total, f"{driven.images} of {plan.total} images"
    repeated = repeated_units(run, Path(str(model.log)).read_text(encoding="ascii").split())
    workload = f"{ACTORS_OF_KILL} actors, {plan.n_units} units, one actor killed by SIGKILL half-way"
    note = "every image was there at the end; counted by a log of the devices, batch by batch"
    ratio = 1 / len(repeated) if repeated else 0.0  # no unit: the kill hit no busy actor
    return Row(
        "B6", workload, OURS, "units made anew", (len(repeated),), ratio, "the one that it was making", 1.0, note
    )


def repeated_units(run: Run, log: list[str]) -> set[int]:
    """Return the units of which a batch was generated more than once. log: the first seed of each generated batch."""
    plan = run.context.plan
    unit_of = {
        plan.seed_of(slot, 0): number
        for number in range(plan.n_units)
        for slot in list(plan.slots(plan.unit(number)))[::BATCH]
    }
    # Each warm-up batch consists of the plan's first slots.
    warm_up = Counter({plan.seed_of(plan.slot(0), 0): log.count(str(plan.seed_of(plan.slot(0), 0))) - 1})
    batches = Counter(map(int, log)) - warm_up
    return {unit_of[seed] for seed, times in batches.items() if times > 1}


def _kill_busy_actor() -> int:
    processes = psutil.Process().children(recursive=True)
    title = "ray::UnitActor.generate_unit"
    victim = next(process for process in processes if " ".join(process.cmdline()).startswith(title))
    victim.send_signal(signal.SIGKILL)
    return victim.pid
