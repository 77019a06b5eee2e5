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

    noticed: called after every unit, on the driver's thread.
    begins:  called before the first assignment, with the process ids of the actors.
    """

    noticed: Callable[["Driven"], None] = lambda driven: None
    begins: Callable[[Sequence[int]], None] = lambda pids: None
    began: float = 0.0
    ended: float = 0.0
    images: int = 0
    stats: list[Stats] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Images per second."""
        assert self.began, "no actor was ready"
        return self.images / (self.ended - self.began)

    def unit_done(self, stats: Stats) -> None:
        """See `Listener`."""
        self.ended = time.monotonic()
        self.images += stats["count"]
        self.stats.append(stats)
        self.noticed(self)


def drive(run: Run, driven: Driven) -> Driven:
    """Make every unit of a run with as many actors as its spec has at least. Ray must be connected."""
    with patch.object(driver, "ActorPool", lambda given, *_: _WarmPool(given, driven)):
        driver.generate(run, _Silent((), (), []), listeners=[driven])
    return driven


def drive_by_slices(run: Run, images: int, others: Callable[[], list[Sliced]], first: int) -> list[float]:
    """Seconds that the run and others had until their work was done, in slices; first: whose the first one is.

    others: begins them, when the run does.
    """
    all_, threads = list[Sliced](), list[Thread]()

    def begins(pids: Sequence[int]) -> None:
        all_.append(Sliced(pids, time.monotonic(), lambda: driven.ended if driven.images == images else None))
        all_.extend(others())
        turn = first % len(all_)
        threads.append(Thread(target=by_slices, args=[all_[turn:] + all_[:turn]]))
        threads[0].start()

    driven = Driven(begins=begins)
    drive(run, driven)
    threads[0].join()
    return [one.seconds() for one in all_]


class _WarmPool(ActorPool):
    """The first actors begin together, each after a batch that warms it up."""

    def __init__(self, run: Run, driven: Driven) -> None:
        super().__init__(run)
        self._driven = driven

    def start(self, count: int, avoided_nodes: Collection[str]) -> None:
        """Start actors, and return when the first ones are warm."""
        super().start(count, avoided_nodes)
        if not self._driven.began:
            ray.get([actor.ray_actor.time_batch.remote() for actor in self])
            self._pids = ray.get([actor.ray_actor.__ray_call__.remote(lambda self: os.getpid()) for actor in self])

    def mark_ready(self, ref: Any) -> None:
        """Assign units; the clock starts with the first actor, which gets a unit at once."""
        if not self._driven.began:
            self._driven.begins(self._pids)
            self._driven.began = time.monotonic()
        super().mark_ready(ref)


class _Silent(RunProgress):
    """Shows and logs nothing."""

    def unit_done(self, stats: Stats) -> None:
        pass

    def tick(self, **_: int) -> None:
        pass

    def actor_ready(self, device: str, node: str) -> None:
        pass

    def log(self, text: str, event: str = "note", level: Level = "info", **fields: Any) -> None:
        pass


def connect(cpus: int) -> None:
    """Start Ray for this process alone, with so many cores to give."""
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
