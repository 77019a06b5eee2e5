"""The pool of the actors of a run."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from engine.cluster.actor import start_actor
from engine.cluster.assignments import ActorHandle, Assignment, FreeCapacity, queued_assignments
from engine.cluster.work_queue import WorkQueue
from engine.run.run import Run
from shards.stats import Stats

Ref = ray.ObjectRef

# Delay for each pending call before all are polled. A poll costs microseconds for each pending call, so it pays to find
# many results with one poll.
_WAIT_PER_CALL_S = 25e-6


class ActorPool:
    """The actors of a run.

    loading: the actors that wait for a node or load the model, by the pending call.
    ready:   the actors that have loaded the model.
    running: the units that actors have, by the pending call.
    """

    def __init__(self, run: Run, profile: bool = False) -> None:
        self._run, self._profile = run, profile
        self.loading: dict[Ref[str], ActorHandle] = {}
        self.ready: list[ActorHandle] = []
        self.running: dict[Ref[Stats | None], Assignment] = {}

    def __iter__(self) -> Iterator[ActorHandle]:
        yield from self.loading.values()
        yield from self.ready

    def __len__(self) -> int:
        return len(self.loading) + len(self.ready)

    @property
    def idle(self) -> list[ActorHandle]:
        """The actors that are ready and have no unit."""
        return [actor for actor in self.ready if not actor.assignments]

    def start(self, count: int, avoided_nodes: Collection[str]) -> None:
        """Ask Ray for `count` more actors on other nodes than `avoided_nodes`."""
        # An actor that fits on no node stays pending. Pending actors make an autoscaler start nodes.
        for _ in range(count):
            ray_actor = start_actor(self._run.context, self._run.store, avoided_nodes, self._profile)
            # The node is asked for before the model is loaded, so it is known even if loading fails.
            node_ref = ray_actor.node.remote()
            actor = ActorHandle(ray_actor, node_ref, self._run.context.spec.model.fixed_batch_size())
            self.loading[ray_actor.load.remote()] = actor

    def assign(self, queue: WorkQueue) -> None:
        """Assign waiting units to the actors that can take one."""
        capacity = FreeCapacity(self.ready)
        while queue and (actor := capacity.take(queue.next_is_exclusive)) is not None:
            exclusive, number = queue.next_is_exclusive, queue.pop()
            assignment = Assignment(actor, number, time.monotonic(), exclusive)
            actor.assignments.append(assignment)
            self.running[actor.ray_actor.generate_unit.remote(number)] = assignment
        if not queue:  # cancelled units return to the queue, and the next call assigns them to the idle actors
            self._cancel(list(queued_assignments(self.ready))[: len(self.idle)])

    def cancel_queued(self) -> None:
        """Ask the actors to return all queued units. Units that have begun are finished."""
        self._cancel(queued_assignments(self.ready))

    def wait(self, seconds: float) -> "list[Ref[Any]]":
        """Return the calls that have ended, older ones first; wait up to `seconds` for the first one."""
        finished = wait_for_results([*self.loading, *self.running], seconds)
        self.update_nodes(self.loading.values())
        return finished

    def mark_ready(self, ref: "Ref[str]") -> None:
        """Move the actor of a finished load call to the ready actors."""
        self.ready.append(self.loading.pop(ref))

    def release(self, ref: "Ref[Stats | None]") -> None:
        """Take the unit of a finished call from its actor."""
        assignment = self.running.pop(ref)
        assignment.actor.remove(assignment, time.monotonic())

    def update_nodes(self, actors: Iterable[ActorHandle], seconds: float = 0.0) -> None:
        """Set the nodes of those of these actors that have started; wait up to `seconds` for them."""
        unknown = {actor.node_ref: actor for actor in actors if not actor.node}
        if unknown:
            finished, _ = ray.wait(list(unknown), num_returns=len(unknown), timeout=seconds)
            for ref in finished:
                with suppress(RayError):  # the process died; its load call raises the reason
                    unknown[ref].node = ray.get(ref)

    def drain(self, nodes: Collection[str]) -> None:
        """Kill the idle actors on these nodes. Busy ones finish their running unit and get no other."""
        for actor in self:
            if actor.node in nodes and not actor.draining:
                actor.draining = True
                self._cancel(queued_assignments([actor]))
        for actor in [actor for actor in self if actor.draining and not actor.assignments]:
            self.kill(actor)

    def remove_surplus(self, surplus: int) -> None:
        """Kill up to `surplus` actors that have no unit, first those that need longest until they can take one."""
        if surplus > 0:
            loading = sorted(self.loading.values(), key=lambda actor: bool(actor.node))
            for actor in [*loading, *self.idle][:surplus]:
                self.kill(actor)

    def kill(self, actor: ActorHandle) -> list[int]:
        """Kill an actor; return the numbers of its units, the running one first. Files of theirs may be published."""
        self._kill_process(actor)
        self.ready = [other for other in self.ready if other is not actor]
        self.loading = {ref: other for ref, other in self.loading.items() if other is not actor}
        self.running = {ref: item for ref, item in self.running.items() if item.actor is not actor}
        return [assignment.unit_number for assignment in actor.assignments]

    def close(self) -> None:
        """Kill all actors."""
        for actor in list(self):
            self.kill(actor)

    def _kill_process(self, actor: ActorHandle) -> None:
        with suppress(RayError):  # the process or its node may be gone already
            ray.kill(actor.ray_actor)

    def _cancel(self, assignments: Iterable[Assignment]) -> None:
        for assignment in assignments:
            assignment.cancelled = True
            assignment.actor.ray_actor.cancel_unit.remote(assignment.unit_number)


def wait_for_results(refs: "list[Ref[Any]]", seconds: float) -> "list[Ref[Any]]":
    """Return the calls that have ended, in their order; wait up to `seconds` for the first one."""
    if not refs:
        time.sleep(seconds)
        return []
    time.sleep(_WAIT_PER_CALL_S * len(refs))
    finished, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
    if not finished:
        finished, _ = ray.wait(refs, timeout=seconds)
    return finished
