"""B6: more actors, each with a fake device of its own, beside one; and one of them killed half-way.

Devices sleep, so that many of them fit on few cores: what is measured is the driver, the actors' own work on the host
and the store, at the rate of a real device. Ours is timed as in B1, until the last commit.
"""

import os
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
"""Images of a batch; its seconds; batches of a unit, and units of an actor."""
KILLED_OF = 4


def measure(options: Options) -> Iterator[Row]:
    import ray

    from bench.throughput.drive import connect

    actors, rounds, seconds = options.pick((ACTORS, ROUNDS, BATCH_S), ((1, 2), 1, 0.02))
    numbers = count()
    connect(max(*actors, KILLED_OF))
    try:
        systems: Mapping[str, Callable[[], float]] = {
            str(number): partial(_rate, options.folder, numbers, number, seconds) for number in actors
        }
        rates = by_turns(systems, rounds)
        workload = f"fake devices of {1000 * seconds:g} ms a batch of {BATCH}, 64x64 PNG"
        for number in actors[1:]:
            mine = tuple(rates[str(number)])
            ratio = paired(mine, [number * rate for rate in rates["1"]])
            yield Row(
                "B6", f"{workload}: {number} actors", OURS, "images/s", mine, ratio, f"{number} times one", TARGET
            )
        yield _killed(options.folder, seconds)
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


def _killed(folder: Path, seconds: float) -> Row:
    """Units that were made anew after one of the actors was killed, which should be the one that it was making."""
    from bench.throughput.drive import Driven, drive

    model = FakeSettings(seconds=seconds, side=64, batch_size=BATCH, log=str(folder / "batches.log"))
    run = _run(folder / "killed", KILLED_OF, model)
    plan = run.context.plan
    victims: list[int] = []

    def kill_one(driven: Driven) -> None:
        if not victims and len(driven.stats) == plan.n_units // 2:
            victims.append(_kill_an_actor())

    driven = drive(run, Driven(kill_one))
    assert driven.images == plan.total, f"{driven.images} of {plan.total} images"
    anew = made_anew(run, Path(str(model.log)).read_text(encoding="ascii").split())
    workload = f"{KILLED_OF} actors, {plan.n_units} units, one actor killed by SIGKILL half-way"
    note = "every image was there at the end; counted by a log of the devices, batch by batch"
    ratio = 1 / len(anew) if anew else 0.0  # none: the kill met nobody at work
    return Row("B6", workload, OURS, "units made anew", (len(anew),), ratio, "the one that it was making", 1.0, note)


def made_anew(run: Run, log: list[str]) -> set[int]:
    """The units of which a batch was made more than once, by the first seeds of all batches that were made."""
    plan = run.context.plan
    unit_of = {
        plan.seed_of(slot, 0): number
        for number in range(plan.n_units)
        for slot in list(plan.slots(plan.unit(number)))[::BATCH]
    }
    # What warms an actor up is a batch of the plan's first slots, twice.
    warming = Counter({plan.seed_of(plan.slot(0), 0): log.count(str(plan.seed_of(plan.slot(0), 0))) - 1})
    made = Counter(map(int, log)) - warming
    return {unit_of[seed] for seed, times in made.items() if times > 1}


def _kill_an_actor() -> int:
    ours = psutil.Process().children(recursive=True)
    victim = next(one.pid for one in ours if " ".join(one.cmdline()).startswith("ray::UnitActor.generate_unit"))
    os.kill(victim, signal.SIGKILL)
    return victim
