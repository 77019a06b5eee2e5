"""The actors of a generation, and what each is doing."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from engine.cluster.actor import start_actor
from engine.cluster.assignments import ActorHandle, Assignment, Openings, queued, settle
from engine.cluster.work_queue import WorkQueue
from engine.run.run import Run
from shards.stats import Stats

Ref = ray.ObjectRef

_DUE_S = 5.0
_PAUSE_S = 25e-6
"""For each open call, before all are looked at, which takes Ray and the driver microseconds for each: what is answered
meanwhile is seen by the same look. A twentieth of a second for 1,000 actors."""


class ActorPool:
    """Actors: those that wait for a node or load the model, those that are ready, and the units that these have.

    profile: whether they write down where the time of each unit goes.
    """

    def __init__(self, run: Run, profile: bool = False) -> None:
        self._run, self._profile = run, profile
        self.loading: dict[Ref[str], ActorHandle] = {}
        self.ready: list[ActorHandle] = []
        self.making: dict[Ref[Stats | None], Assignment] = {}

    def __iter__(self) -> Iterator[ActorHandle]:
        yield from self.loading.values()
        yield from self.ready

    def __len__(self) -> int:
        """How many there are."""
        return len(self.loading) + len(self.ready)

    @property
    def idle(self) -> list[ActorHandle]:
        """Those that are ready and have no unit."""
        return [maker for maker in self.ready if not maker.leases]

    def ask_for(self, count: int, avoided: Collection[str]) -> None:
        """Ask Ray for so many more, on other nodes than these. Those that find no room wait, which is what makes an
        autoscaler start nodes."""
        for _ in range(count):
            actor = start_actor(self._run.recipe, self._run.store, avoided, self._profile)
            maker = ActorHandle(actor, actor.node.remote(), self._run.recipe.spec.model.fixed_batch_size())
            self.loading[actor.load.remote()] = maker

    def deal(self, backlog: WorkQueue) -> None:
        """Give out the units that wait, see `Openings`; recall queued ones that idle actors could begin."""
        openings = Openings(self.ready)
        while backlog and (maker := openings.take(backlog.next_alone)) is not None:
            alone, number = backlog.next_alone, backlog.take()
            maker.leases.append(Assignment(maker, number, time.monotonic(), alone))
            self.making[maker.actor.make.remote(number)] = maker.leases[-1]
        if not backlog:
            self._recall(list(queued(self.ready))[: len(self.idle)])

    def recall(self) -> None:
        """Ask for all units back that are queued; those that have begun are finished."""
        self._recall(queued(self.ready))

    def wait(self, seconds: float) -> "list[Ref[Any]]":
        """Until an actor has loaded or made something, or this time is over; older units come first."""
        ready = answered([*self.loading, *self.making], seconds)
        self._locate()
        return ready

    def loaded(self, ref: "Ref[str]") -> None:
        """An actor is ready for units."""
        self.ready.append(self.loading.pop(ref))

    def made(self, ref: "Ref[Stats | None]") -> None:
        """An actor has this unit no more."""
        settle(self.making.pop(ref), time.monotonic())

    def locate(self, maker: ActorHandle) -> None:
        """Note the node of an actor whose loading has ended; it was asked for before that, so the answer is due."""
        if not maker.node:
            found, _ = ray.wait([maker.placed], timeout=_DUE_S)
            with suppress(RayError):  # it ended before it could tell
                maker.node = ray.get(found[0]) if found else ""

    def leave(self, nodes: Collection[str]) -> None:
        """End the actors on these nodes that have no unit; those that have one may finish it, and begin no other."""
        for maker in [one for one in self if one.node in nodes and not one.leaving]:
            maker.leaving = True
            self._recall(queued([maker]))
        for maker in [one for one in self if one.leaving and not one.leases]:
            self.end(maker)

    def shrink(self, surplus: int) -> None:
        """End so many of those that have no unit, first those that are still far from making one."""
        if surplus > 0:
            by_progress = [*sorted(self.loading.values(), key=lambda maker: bool(maker.node)), *self.idle]
            for maker in by_progress[:surplus]:
                self.end(maker)

    def lose(self, maker: ActorHandle) -> tuple[int, list[int]]:
        """End an actor that has units; gives the one that it was making, and those queued behind."""
        making, *behind = (lease.number for lease in maker.leases)
        self.end(maker)
        return making, behind

    def end(self, maker: ActorHandle) -> None:
        """End an actor; what it was making is finished, or is made anew, whatever was published of it."""
        self._kill(maker)
        self.ready = [one for one in self.ready if one is not maker]
        self.loading = {ref: one for ref, one in self.loading.items() if one is not maker}
        self.making = {ref: lease for ref, lease in self.making.items() if lease.maker is not maker}

    def close(self) -> None:
        """End all."""
        for maker in list(self):
            self.end(maker)

    def _kill(self, maker: ActorHandle) -> None:
        with suppress(RayError):  # it may be gone, with its node
            ray.kill(maker.actor)

    def _recall(self, leases: Iterable[Assignment]) -> None:
        for lease in leases:
            lease.recalled = True
            lease.maker.actor.recall.remote(lease.number)

    def _locate(self) -> None:
        """Note on which nodes those that were waiting have started: told before they load, so known when that fails."""
        unknown = {maker.placed: maker for maker in self.loading.values() if not maker.node}
        if unknown:
            found, _ = ray.wait(list(unknown), num_returns=len(unknown), timeout=0)
            for ref in found:
                with suppress(RayError):  # it ended; what it was loading tells why
                    unknown[ref].node = ray.get(ref)


def answered(calls: "list[Ref[Any]]", seconds: float) -> "list[Ref[Any]]":
    """Those of these open calls that are answered, in their order; until one is, or this time is over."""
    if not calls:
        time.sleep(seconds)
        return []
    time.sleep(_PAUSE_S * len(calls))
    ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
    if not ready:
        ready, _ = ray.wait(calls, timeout=seconds)
    return ready
