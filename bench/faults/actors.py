"""Faults of actors: they die at every point of a unit, freeze, and wake up late."""

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from bench.faults.driver import TIMEOUT_S, Driver, UnexpectedOutcome
from bench.faults.fault import fault
from bench.faults.places import Folder
from bench.faults.scene import UNITS, Scene

_UNIT_TIMEOUT_S = 30

Window = Callable[[str, set[str], set[str]], bool]
"""Returns whether a unit is at a certain point, by the unit's name, the published files and the staged files."""


@fault("worker SIGKILL three times", quick=True)
def killed(scene: Scene) -> None:
    """SIGKILL to an actor while it makes a unit, to one that took its place, and to a third."""
    driver = scene.generate("cluster.unit_attempts=4")
    for units in (1, 3, 5):
        scene.wait_until_busy(driver, units)
        scene.kill_busy_actor(driver)
    driver.expect_exit(0, "(1 of 4 attempts used)")


@fault("death between writing and commit")
def written(scene: Scene) -> None:
    """SIGKILL to an actor that has written a shard and its index and has published neither."""
    driver = scene.generate()
    kill_at(scene, driver, lambda unit, final, staged: f"{unit}.parquet" in staged and f"{unit}.tar" not in final)
    driver.expect_exit(0, "(1 of 3 attempts used)")


@fault("death between shard and stats file", quick=True)
def published(scene: Scene) -> None:
    """SIGKILL to an actor whose shard is published and whose stats file, which makes it count, is not."""
    driver = scene.generate()
    unit = kill_at(scene, driver, lambda unit, final, _: f"{unit}.tar" in final and f"{unit}_stats.json" not in final)
    driver.expect_exit(0, "(1 of 3 attempts used)", f"unit {unit}")


@fault("death after commit before the answer")
def unheard(scene: Scene) -> None:
    """SIGKILL to an actor the moment its stats file appears, so that the driver hears of its death, not of its unit."""
    driver = scene.generate()
    while f"unit {_kill_after_commit(scene, driver)}: " not in driver.output():
        pass  # the answer was faster: the next unit
    driver.expect_exit(0, "attempts used)")


@fault("frozen worker that wakes up and writes late")
def frozen(scene: Scene) -> None:
    """SIGSTOP to an actor that is making a unit, for longer than cluster.unit_timeout_s; SIGCONT once the other units
    are made."""
    driver = scene.generate(f"cluster.unit_timeout_s={_UNIT_TIMEOUT_S}", workers=max(2, scene.workers))
    scene.wait_until_busy(driver, 1)
    victim = scene.busy_actors()[0]
    victim.suspend()
    driver.wait_until(lambda: f"not finished after {_UNIT_TIMEOUT_S} s" in driver.output())
    driver.wait_until(lambda: scene.finished_units() >= UNITS - 1)
    with suppress(ProcessLookupError):  # Ray has ended it already
        os.kill(victim.pid, signal.SIGCONT)
    driver.expect_exit(0)


def kill_at(scene: Scene, driver: Driver, window: Window) -> str:
    """Kill the actor of the first unit that is seen at that point; return the unit's name.

    The actor is stopped first. If its unit has passed the point by then, the actor continues, and the next is tried.
    """
    actors: dict[str, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while driver.process.poll() is None and time.monotonic() < deadline:
        actors |= {_unit(name): int(name.split(".")[-2]) for name in _staged(scene)}
        for unit, pid in actors.items():
            if _is_at(scene, unit, window) and _kill_if_still_there(scene, unit, pid, window):
                return unit
        time.sleep(0.001)
    raise UnexpectedOutcome(f"no unit was seen at that point: {driver.tail()}")


def _kill_after_commit(scene: Scene, driver: Driver) -> str:
    """Kill an actor as soon as its unit is finished; return the unit's name after the driver has seen the death."""
    assert isinstance(scene.place, Folder)
    driver.wait_until(lambda: _staged(scene), pause_s=0.001)
    name = _staged(scene)[0]
    stats = scene.place.path / "shards" / f"{_unit(name)}_stats.json"
    while not stats.exists():  # without a pause: the answer follows within a millisecond
        if driver.process.poll() is not None:
            raise UnexpectedOutcome(f"the command ended before unit {_unit(name)} was finished: {driver.tail()}")
    with suppress(ProcessLookupError):
        os.kill(int(name.split(".")[-2]), signal.SIGKILL)
    time.sleep(2)
    return _unit(name)


def _kill_if_still_there(scene: Scene, unit: str, pid: int, window: Window) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        still_there = _is_at(scene, unit, window)
        os.kill(pid, signal.SIGKILL if still_there else signal.SIGCONT)
        return still_there
    return False


def _is_at(scene: Scene, unit: str, window: Window) -> bool:
    return window(unit, scene.place.names(), {name.rpartition(".")[0].rpartition(".")[0] for name in _staged(scene)})


def _staged(scene: Scene) -> list[str]:
    """Return the names of the staged files of shards: 00012.tar.PID.RANDOM, 00012_stats.json.PID.RANDOM."""
    return [path.name for path in scene.place.staged() if path.name[0].isdigit()]


def _unit(name: str) -> str:
    return re.match(r"\d+", name)[0]  # type: ignore[index]
