"""The driver of a generation: leases units to actors until every one is finished or quarantined.

It owns all retries. A unit is charged only for what it may have caused: an exception of its own, or the death of the
process that was making it. A lost node, a preemption, an unreachable actor or store costs it nothing but time. Units
that were in a process that died are made alone from then on, so that none is charged for another more than once. An
actor on which one unit after another fails is replaced, see `FailurePolicy`.
"""

import time
from collections.abc import Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from engine.cluster.actor import start_actor
from engine.cluster.actor_pool import ActorPool, Ref
from engine.cluster.assignments import ActorHandle, Assignment, late
from engine.cluster.failure_policy import FailurePolicy
from engine.cluster.node_health import NodeHealth
from engine.cluster.nodes import Nodes
from engine.cluster.ray_errors import brief, cause_of, is_the_units_doing, no_room
from engine.cluster.ray_session import joins_cluster
from engine.cluster.stop_signals import StopSignals
from engine.cluster.store_backoff import StoreBackoff
from engine.cluster.work_queue import WorkQueue
from engine.errors import BudgetSpent, ModelError, NoStagingRoom, OutputError, Stopped
from engine.monitoring.budget import Meter
from engine.monitoring.estimate import Pace
from engine.monitoring.run_progress import Listener, RunProgress
from engine.run.run import Run
from engine.run.run_context import RunContext
from shards.stats import Stats
from shards.storage.retries import AccessRefused, StoreUnreachable, first_line
from shards.storage.store import Store

_POLL_SECONDS = 0.5
_PATIENCE_S = 600.0


class Driver:
    """Brings units and actors together. It holds O(actors) besides the numbers of waiting units."""

    def __init__(
        self, run: Run, progress: RunProgress, meter: Meter | None, listeners: Sequence[Listener], profile: bool = False
    ) -> None:
        self._run, self._cluster = run, run.recipe.spec.cluster
        self._progress, self._meter, self._listeners = progress, meter, (progress, *listeners)
        self._nodes = Nodes(self._cluster)
        self._loads = NodeHealth(_PATIENCE_S if joins_cluster() else 0.0)
        self._crew, self._backlog, self._outage = ActorPool(run, profile), WorkQueue(run), StoreBackoff()
        self._blame = FailurePolicy()
        self._signals = StopSignals()
        self._ending, self._spent = False, ""
        self._unwritable: OutputError | None = None

    def dispatch(self) -> None:
        """Work until nothing is left. Raises UnitsFailed, Stopped, OutputError, and what a model fails to load with."""
        with self._signals:
            try:
                while self._crew.making or (self._backlog and not self._ending):
                    self._step()
            finally:
                self._crew.close()
                self._backlog.sweep()
        if self._unwritable is not None:
            raise self._unwritable
        left = len(self._backlog)
        if left and self._spent:
            raise BudgetSpent(f"stopped with {left} units to make: {self._spent}")
        if left:
            raise Stopped(f"stopped with {left} units to make; run the same command again to go on")
        self._backlog.check()

    def _step(self) -> None:
        self._nodes.look()
        self._crew.leave(self._nodes.draining)
        self._staff()
        if self._ending or self._outage.waiting:  # no further unit is to begin
            self._crew.recall()
        else:
            self._crew.deal(self._backlog)
        for ref in self._crew.wait(_POLL_SECONDS):
            if ref in self._crew.loading:
                self._settle_load(ref)
            elif ref in self._crew.making:  # else its actor was ended a moment ago
                self._settle_unit(ref)
        self._end_hung()
        self._tell()
        self._look_for_an_end()

    def _staff(self) -> None:
        """As many actors on nodes that stay as have something to do."""
        draining, avoided = self._nodes.draining, self._avoided()
        staying = sum(maker.node not in draining for maker in self._crew)
        making = sum(len(maker.leases) for maker in self._crew if maker.node not in draining)
        useful = making + (0 if self._ending else len(self._backlog))
        self._crew.ask_for(min(useful, self._nodes.actors_wanted(avoided)) - staying, avoided)
        # An autoscaler may end the nodes of those that no unit is left for.
        self._crew.shrink(staying - useful)

    def _avoided(self) -> frozenset[str]:
        """The nodes that are given no further actor."""
        avoided = self._loads.avoided
        return avoided | self._blame.avoided(self._nodes.usable.keys() - avoided)

    def _end_hung(self) -> None:
        allowed = self._cluster.unit_timeout_s
        for lease in late(self._crew.ready, time.monotonic(), allowed):
            error = TimeoutError(f"not finished after {allowed:g} s (cluster.unit_timeout_s)")
            self._lost(lease.maker, error, charged=True)

    def _tell(self) -> None:
        crew, waiting = self._crew, len(self._backlog)
        if self._meter is not None:
            self._meter.tick(sum(bool(maker.node) for maker in crew))
            self._spent = self._spent or self._meter.exhausted() or ""
        for listener in self._listeners:
            listener.tick(actors=len(crew.ready), loading=len(crew.loading), waiting=waiting)

    def _look_for_an_end(self) -> None:
        """Notes that no further unit is to begin. Raises what ends the run at once."""
        self._signals.check()
        if self._loads.hopeless(self._nodes.usable, bool(self._crew.ready)):
            raise self._loads.error()
        if not self._ending and (self._spent or self._unwritable or self._signals.draining):
            self._ending = True
            why = self._spent or self._unwritable or "once more Ctrl-C stops at once"
            self._progress.log(f"finishing the units in flight; {why}", "draining")

    def _settle_load(self, ref: "Ref[str]") -> None:
        maker = self._crew.loading[ref]
        self._crew.locate(maker)
        try:
            device = ray.get(ref)
        except RayError as error:
            self._load_failed(maker, error)
        else:
            self._loads.succeeded(maker.node)
            self._crew.loaded(ref)
            self._progress.actor_ready(device, maker.node)

    def _load_failed(self, maker: ActorHandle, error: RayError) -> None:
        self._crew.end(maker)
        self._progress.log(f"an actor could not start: {brief(error)}", "load_failed", "warning", node=maker.node)
        if not maker.node or self._stays(maker.node):
            self._loads.failed(maker.node, error)
        if maker.node in self._loads.avoided:
            text = f"node {maker.node} gets no more actors: the model fails to load there"
            self._progress.log(text, "node_avoided", "warning", node=maker.node)

    def _settle_unit(self, ref: "Ref[Stats | None]") -> None:
        lease = self._crew.making[ref]
        try:
            stats = ray.get(ref)
        except RayTaskError as error:
            self._crew.made(ref)
            self._raised(lease, error)
        except RayError as error:
            charged = is_the_units_doing(error, self._stays(lease.maker.node))
            if charged:
                self._backlog.suspect(one.number for one in lease.maker.leases)
            self._lost(lease.maker, error, charged=charged)
        else:
            self._crew.made(ref)
            if stats is None:  # it was recalled
                self._backlog.give_back(lease.number)
            else:
                self._finished(lease, stats)

    def _raised(self, lease: Assignment, error: RayTaskError) -> None:
        cause, maker, charged = cause_of(error), lease.maker, False
        self._unwritable = self._unwritable or self._why_unwritable(cause)
        if isinstance(cause, NoStagingRoom):
            self._loads.shun(maker.node, error)
            self._retire(maker, first_line(cause))
        elif not (self._unwritable or self._is_outage(cause)):
            verdict = self._blame.failed(maker, lease.number, cause, len(self._crew))
            charged = verdict.charged
            if verdict.ended:
                self._retire(maker, "units fail there, and may not elsewhere")
        self._failed(lease.number, error, charged=charged)

    def _retire(self, maker: ActorHandle, why: str) -> None:
        """End an actor for what is wrong with it; the units that it still has go back."""
        self._backlog.give_back(*(lease.number for lease in maker.leases))
        self._crew.end(maker)
        self._progress.log(f"an actor is ended: {why}", "actor_ended", "warning", node=maker.node)
        if maker.node in self._avoided():
            text = f"node {maker.node} gets no more actors: {why}"
            self._progress.log(text, "node_avoided", "warning", node=maker.node)

    def _finished(self, lease: Assignment, stats: Stats) -> None:
        self._outage.over()
        self._blame.finished(lease.maker)
        self._backlog.done(lease.number)
        self._notice_batch_size(lease.maker, stats)
        for listener in self._listeners:
            listener.unit_done(stats)

    def _lost(self, maker: ActorHandle, error: Exception, *, charged: bool) -> None:
        """End an actor: what failed is the unit that it was making, and those behind that go back."""
        making, behind = self._crew.lose(maker)
        self._backlog.give_back(*behind)
        self._failed(making, error, charged=charged)

    def _stays(self, node: str) -> bool:
        """Whether a node is neither lost nor about to go."""
        self._nodes.look_now()
        return node in self._nodes.usable

    def _failed(self, number: int, error: Exception, *, charged: bool) -> None:
        if charged:
            given_up = self._backlog.charge(number, error)
        else:
            self._backlog.give_back(number)
            given_up = False
        name, used = self._run.recipe.plan.shard_name(number), self._backlog.used(number)
        text = f"unit {name}: {brief(error)} ({used} of {self._cluster.unit_attempts} attempts used)"
        self._progress.log(text, "unit_attempt_failed", "warning", unit=number)
        if given_up:
            for listener in self._listeners:
                listener.unit_failed(brief(error), len(self._run.recipe.plan.unit(number)))

    def _notice_batch_size(self, maker: ActorHandle, stats: Stats) -> None:
        if stats["batch_size"] < maker.batch_size:
            text = f"an actor went down to batches of {stats['batch_size']}: more do not fit into its device's memory"
            self._progress.log(text, "batch_size", "warning", node=maker.node)
        maker.batch_size = stats["batch_size"]

    def _is_outage(self, cause: BaseException) -> bool:
        """Whether the store did not answer. Then no unit begins for a while. Raises OutputError where it stays so."""
        if not isinstance(cause, StoreUnreachable):
            return False
        wait_s = self._outage.failed(cause)
        self._progress.log(
            f"the store does not answer; units begin again in {wait_s:.0f} s", "store_unreachable", "warning"
        )
        return True

    def _why_unwritable(self, cause: BaseException) -> OutputError | None:
        """Where no other unit could be stored either. Those in flight find that out themselves, and clean up."""
        if isinstance(cause, OSError) and self._run.shards.local is not None and no_room(cause):
            return OutputError(
                f"{self._run.shards}: {cause.strerror}; nothing that was finished is lost: make room and run the same "
                "command again"
            )
        if isinstance(cause, AccessRefused):
            return OutputError(f"{cause}; nothing that was finished is lost: run the same command again")
        return None


def generate(
    run: Run,
    progress: RunProgress,
    meter: Meter | None = None,
    listeners: Sequence[Listener] = (),
    *,
    profile: bool = False,
) -> None:
    """Make every unit of the run that is not finished. Ray must be connected; see `Driver.dispatch` for errors.

    The first Ctrl-C and a spent budget finish the units in flight, the second Ctrl-C and SIGTERM stop at once; in each
    case the same command goes on where this one stopped.

    meter:   keeps the run's budget; None if there is no limit. listeners: those besides `progress`.
    profile: whether each unit leaves a file for `profile.merge`.
    """
    Driver(run, progress, meter, listeners, profile).dispatch()


def measure(recipe: RunContext, store: Store) -> Pace:
    """Time one batch of the plan's first slots on one actor; nothing is written."""
    nodes = Nodes(recipe.spec.cluster)
    actor = start_actor(recipe, store)
    try:
        ray.get(actor.load.remote())
        nodes.look()
        return Pace(ray.get(actor.time_batch.remote()), nodes.actors_wanted())
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise ModelError(f"model: no batch could be timed ({brief(error)}); the logs of Ray say more") from None
    finally:
        ray.kill(actor)
