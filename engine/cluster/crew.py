"""The actors of a generation, and what each is doing."""

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from engine.cluster.actor import start_maker
from engine.run import Run
from shards.stats import Stats

Ref = ray.ObjectRef

_DUE_S = 5.0


@dataclass(slots=True, eq=False)
class Maker:
    """An actor.

    placed:     what will tell its node; node: that id, "" as long as it waits for a node or is starting.
    batch_size: of the last unit that it made.
    """

    actor: Any
    placed: "Ref[str]"
    batch_size: int
    node: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """A unit in the hands of an actor. since: by the driver's monotonic clock, in seconds."""

    maker: Maker
    number: int
    since: float


class Crew:
    """Actors: those that wait for a node or load the model, those that are idle, and those that make a unit."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.loading: dict[Ref[str], Maker] = {}
        self.idle: list[Maker] = []
        self.making: dict[Ref[Stats], Lease] = {}

    def __iter__(self) -> Iterator[Maker]:
        yield from self.loading.values()
        yield from self.idle
        yield from (lease.maker for lease in self.making.values())

    def ask_for(self, count: int, avoided: Collection[str]) -> None:
        """Ask Ray for so many more, on other nodes than these. Those that find no room wait, which is what makes an
        autoscaler start nodes."""
        for _ in range(count):
            actor = start_maker(self._run.recipe, self._run.store, avoided)
            maker = Maker(actor, actor.node.remote(), self._run.recipe.spec.model.fixed_batch_size())
            self.loading[actor.load.remote()] = maker

    def lease(self, number: int) -> None:
        """Give a unit to an idle actor."""
        maker = self.idle.pop()
        self.making[maker.actor.make.remote(number)] = Lease(maker, number, time.monotonic())

    def wait(self, seconds: float) -> "list[Ref[Any]]":
        """Until an actor has loaded or made something, or this time is over."""
        refs: list[Any] = [*self.loading, *self.making]
        if not refs:
            time.sleep(seconds)
        ready, _ = ray.wait(refs, timeout=seconds) if refs else ([], [])
        self._locate()
        return ready

    def loaded(self, ref: "Ref[str]") -> None:
        """An actor is ready for units."""
        self.idle.append(self.loading.pop(ref))

    def made(self, ref: "Ref[Stats]") -> None:
        """An actor has no unit any more."""
        self.idle.append(self.making.pop(ref).maker)

    def locate(self, maker: Maker) -> None:
        """Note the node of an actor whose loading has ended; it was asked for before that, so the answer is due."""
        if not maker.node:
            found, _ = ray.wait([maker.placed], timeout=_DUE_S)
            with suppress(RayError):  # it ended before it could tell
                maker.node = ray.get(found[0]) if found else ""

    def leave(self, nodes: Collection[str]) -> None:
        """End the actors on these nodes that have no unit; those that have one may finish it."""
        for maker in [one for one in (*self.idle, *self.loading.values()) if one.node in nodes]:
            self.end(maker)

    def shrink(self, surplus: int) -> None:
        """End so many of those that have no unit, first those that are still far from making one."""
        by_progress = [*sorted(self.loading.values(), key=lambda maker: bool(maker.node)), *self.idle]
        for maker in by_progress[: max(0, surplus)]:
            self.end(maker)

    def end(self, maker: Maker) -> None:
        """End an actor; what it was making was not published, or is complete."""
        with suppress(RayError):  # it may be gone, with its node
            ray.kill(maker.actor)
        self.idle = [one for one in self.idle if one is not maker]
        self.loading = {ref: one for ref, one in self.loading.items() if one is not maker}
        self.making = {ref: lease for ref, lease in self.making.items() if lease.maker is not maker}

    def close(self) -> None:
        """End all."""
        for maker in list(self):
            self.end(maker)

    def _locate(self) -> None:
        """Note on which nodes those that were waiting have started: told before they load, so known when that fails."""
        unknown = {maker.placed: maker for maker in self.loading.values() if not maker.node}
        if unknown:
            found, _ = ray.wait(list(unknown), num_returns=len(unknown), timeout=0)
            for ref in found:
                with suppress(RayError):  # it ended; what it was loading tells why
                    unknown[ref].node = ray.get(ref)
