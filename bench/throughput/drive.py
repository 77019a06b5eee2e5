"""A run through the real driver and real actors, timed from the first assignment to the last commit.

Ray and the actors start, load the model and generate a warm-up batch before the first assignment. No unit is assigned
until all actors are warm, so that all of them work from the beginning, as in the middle of a long run.
"""

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from unittest.mock import patch

import ray

from bench.throughput.slices import Sliced, by_slices
from engine.cluster import driver
from engine.cluster.actor_pool import ActorPool
from engine.monitoring.listener import Listener
from engine.monitoring.log import Level
from engine.monitoring.run_progress import RunProgress
from engine.run.run import Run
from shards.stats import Stats


@dataclass
class Driven(Listener):
    """The result of a run. began, ended: the first assignment and the last commit, by the monotonic clock.

    on_unit:  called after every unit, on the driver's thread.
    on_begin: called before the first assignment, with the process ids of the actors.
    """

    on_unit: Callable[["Driven"], None] = lambda driven: None
    on_begin: Callable[[Sequence[int]], None] = lambda pids: None
    began: float = 0.0
    ended: float = 0.0
    images: int = 0
    stats: list[Stats] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return the images per second."""
        assert self.began, "no actor was ready"
        return self.images / (self.ended - self.began)

    def unit_done(self, stats: Stats) -> None:
        """Record a finished unit."""
        self.ended = time.monotonic()
        self.images += stats["count"]
        self.stats.append(stats)
        self.on_unit(self)


def drive(run: Run, driven: Driven) -> Driven:
    """Run all units on `cluster.min_actors` actors and return `driven` with the result. Ray must be connected."""
    with patch.object(driver, "ActorPool", lambda run, *_: _WarmPool(run, driven)):
        driver.generate(run, _Silent((), (), []), listeners=[driven])
    return driven


def drive_by_slices(run: Run, images: int, others: Callable[[], list[Sliced]], first: int) -> list[float]:
    """Run the run and other systems in slices; return the seconds that each had until its work was done.

    others: starts the other systems; called when the run begins.
    first:  index of the system that gets the first slice.
    """
    systems, threads = list[Sliced](), list[Thread]()

    def begin(pids: Sequence[int]) -> None:
        systems.append(Sliced(pids, time.monotonic(), lambda: driven.ended if driven.images == images else None))
        systems.extend(others())
        start = first % len(systems)
        threads.append(Thread(target=by_slices, args=[systems[start:] + systems[:start]]))
        threads[0].start()

    driven = Driven(on_begin=begin)
    drive(run, driven)
    threads[0].join()
    return [system.seconds() for system in systems]


class _WarmPool(ActorPool):
    """An actor pool whose first actors begin together, each after a warm-up batch."""

    def __init__(self, run: Run, driven: Driven) -> None:
        super().__init__(run)
        self._driven = driven

    def start(self, count: int, avoided_nodes: Collection[str]) -> None:
        """Start actors; wait until the first ones are warm."""
        super().start(count, avoided_nodes)
        if not self._driven.began:
            ray.get([actor.ray_actor.time_batch.remote() for actor in self])
            self._pids = ray.get([actor.ray_actor.__ray_call__.remote(lambda self: os.getpid()) for actor in self])

    def mark_ready(self, ref: Any) -> None:
        """Mark an actor as ready; start the clock with the first one, which is assigned a unit at once."""
        if not self._driven.began:
            self._driven.on_begin(self._pids)
            self._driven.began = time.monotonic()
        super().mark_ready(ref)


class _Silent(RunProgress):
    """A progress that shows and logs nothing."""

    def unit_done(self, stats: Stats) -> None:
        pass

    def tick(self, **_: int) -> None:
        pass

    def actor_ready(self, device: str, node: str) -> None:
        pass

    def log(self, text: str, event: str = "note", level: Level = "info", **fields: Any) -> None:
        pass


def connect(cpus: int) -> None:
    """Start Ray for this process only, with `cpus` cores."""
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
