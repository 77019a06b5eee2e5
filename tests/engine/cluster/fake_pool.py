"""A pool of fake actors, which run no processes."""

from collections.abc import Sequence
from pathlib import Path

from ray.exceptions import RayTaskError

from engine.cluster.actor_pool import ActorPool
from engine.cluster.assignments import ActorHandle, Assignment
from engine.cluster.work_queue import WorkQueue
from engine.config.cluster_spec import ClusterSpec
from engine.run.run import Run
from tests.cluster.fake_kind import fake_run


class FakeMethod:
    """A remote method that records its arguments."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def remote(self, number: int) -> object:
        self.calls.append(number)
        return object()


class FakeActor:
    def __init__(self) -> None:
        self.generate_unit, self.cancel_unit = FakeMethod(), FakeMethod()


class FakePool(ActorPool):
    """A pool of fake actors, one on each of these nodes. All are ready."""

    def __init__(self, run: Run, nodes: Sequence[str]) -> None:
        super().__init__(run)
        for node in nodes:
            self.add(node)

    def add(self, node: str) -> ActorHandle:
        self.ready.append(ActorHandle(FakeActor(), None, 4, node))
        return self.ready[-1]

    def _kill_process(self, actor: ActorHandle) -> None:
        pass

    def units(self) -> list[list[int]]:
        """Return the units of each actor, in order."""
        return [[item.unit_number for item in actor.assignments] for actor in self.ready]

    def end(self, assignment: Assignment) -> None:
        """Let an actor finish a unit, or return it."""
        self.release(next(ref for ref, item in self.running.items() if item is assignment))


def begin(folder: Path, units: int, actors: int, attempts: int = 3) -> tuple[FakePool, WorkQueue]:
    run = fake_run(folder, units, ClusterSpec(unit_attempts=attempts))
    return FakePool(run, [f"n{number}" for number in range(actors)]), WorkQueue(run)


def raised(cause: Exception) -> RayTaskError:
    """Return the error of a call that raised `cause` on an actor."""
    return RayTaskError("load", "a traceback", cause, proctitle="x", pid=1, ip="127.0.0.1")
