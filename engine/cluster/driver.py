"""The driver: assigns the units of a run to actors until each unit is finished or quarantined."""

import time
from collections.abc import Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from engine.cluster.actor import start_actor
from engine.cluster.actor_pool import ActorPool, Ref
from engine.cluster.assignments import ActorHandle, Assignment, overdue_assignments
from engine.cluster.failure_policy import FailureDecision, FailurePolicy
from engine.cluster.node_health import NodeHealth
from engine.cluster.nodes import Nodes
from engine.cluster.ray_errors import brief, cause_of
from engine.cluster.ray_session import joins_cluster
from engine.cluster.stopping import StopConditions, StopSignals, StoreBackoff
from engine.cluster.work_queue import WorkQueue
from engine.errors import ModelError, OutputError
from engine.monitoring.budget import CostMeter
from engine.monitoring.estimate import BatchTiming
from engine.monitoring.listener import Listener
from engine.monitoring.run_progress import RunProgress
from engine.run.run import Run
from engine.run.run_context import RunContext
from shards.stats import Stats
from shards.storage.store import Store

_POLL_S = 0.5
_NODE_TIMEOUT_S = 5.0
_WAIT_FOR_NODE_S = 600.0


class Driver:
    """The main loop of a run; see `generate` for the arguments. Memory grows with the number of actors."""

    def __init__(
        self, run: Run, progress: RunProgress, meter: CostMeter | None, listeners: Sequence[Listener], profile: bool
    ) -> None:
        self._run, self._cluster = run, run.context.spec.cluster
        self._meter, self._progress, self._listeners = meter, progress, (progress, *listeners)
        self._nodes = Nodes(self._cluster)
        self._node_health = NodeHealth(_WAIT_FOR_NODE_S if joins_cluster() else 0.0)
        self._pool, self._queue = ActorPool(run, profile), WorkQueue(run)
        self._policy = FailurePolicy(self._cluster.unit_attempts, one_disk=run.shards.local is not None)
        self._backoff = StoreBackoff()
        self._stopping, self._signals = StopConditions(), StopSignals()
        self._has_logged_stop = False

    def run(self) -> None:
        """Work until no unit is left. Raises UnitsFailed, Stopped, OutputError, and what a model fails to load with."""
        with self._signals:
            try:
                while self._pool.running or (self._queue and not self._stopping.reason):
                    self._nodes.refresh()
                    self._scale_pool()
                    self._assign_units()
                    self._handle_results()
                    self._kill_overdue_actors()
                    self._report_progress()
                    self._check_stop_conditions()
            finally:
                self._pool.close()
                self._queue.sweep()
        if error := self._stopping.error(len(self._queue)):
            raise error
        self._queue.raise_if_failed()

    def _scale_pool(self) -> None:
        """Scale the pool to the number of unfinished units, counting only actors on nodes that are not draining."""
        draining, avoided = self._nodes.draining, self._avoided_nodes()
        self._pool.drain(draining)
        staying = [actor for actor in self._pool if actor.node not in draining]
        unfinished = sum(len(actor.assignments) for actor in staying)
        if not self._stopping.reason:
            unfinished += len(self._queue)
        wanted = min(unfinished, self._nodes.target_actors(avoided))
        self._pool.start(wanted - len(staying), avoided)
        # An autoscaler may then end the nodes of the surplus actors.
        self._pool.remove_surplus(len(staying) - unfinished)

    def _assign_units(self) -> None:
        if self._stopping.reason or self._backoff.is_active:
            self._pool.cancel_queued()
        else:
            self._pool.assign(self._queue)

    def _handle_results(self) -> None:
        for ref in self._pool.wait(_POLL_S):
            if ref in self._pool.loading:
                self._handle_load(ref)
            elif ref in self._pool.running:  # else its actor was killed because of an earlier result
                self._handle_unit(ref)

    def _kill_overdue_actors(self) -> None:
        # Only actors whose model is loaded run units, so the time of loading does not count.
        timeout_s = self._cluster.unit_timeout_s
        for assignment in overdue_assignments(self._pool.ready, time.monotonic(), timeout_s):
            error = TimeoutError(f"not finished after {timeout_s:g} s (cluster.unit_timeout_s)")
            self._lose_actor(assignment.actor, error, self._policy.on_timeout())

    def _report_progress(self) -> None:
        if self._meter is not None:
            self._meter.tick(sum(bool(actor.node) for actor in self._pool))
            self._stopping.budget = self._stopping.budget or self._meter.exhausted() or ""
        actors, loading, waiting = len(self._pool.ready), len(self._pool.loading), len(self._queue)
        for listener in self._listeners:
            listener.tick(actors=actors, loading=loading, waiting=waiting)

    def _check_stop_conditions(self) -> None:
        """Log once when no further unit is assigned. Raises the error that ends the run at once."""
        self._signals.raise_if_stopped()
        if self._node_health.should_give_up(self._nodes.usable, bool(self._pool.ready)):
            raise self._node_health.error()
        self._stopping.interrupted = self._signals.drain_requested
        if self._stopping.reason and not self._has_logged_stop:
            self._has_logged_stop = True
            self._progress.log(f"finishing the units in flight: {self._stopping.reason}", "run_draining")

    def _handle_load(self, ref: "Ref[str]") -> None:
        actor = self._pool.loading[ref]
        # The actor was asked for its node before it was asked to load the model, so the answer is due.
        self._pool.update_nodes([actor], _NODE_TIMEOUT_S)
        try:
            device = ray.get(ref)
        except RayError as error:
            self._handle_load_failure(actor, error)
        else:
            self._node_health.record_success(actor.node)
            self._pool.mark_ready(ref)
            self._progress.actor_ready(device, actor.node)

    def _handle_load_failure(self, actor: ActorHandle, error: RayError) -> None:
        self._pool.kill(actor)
        self._warn("model_load_failed", f"an actor could not start: {brief(error)}", node=actor.node)
        if not actor.node or self._is_usable(actor.node):
            self._node_health.record_failure(actor.node, error)
        if actor.node in self._node_health.avoided_nodes:
            self._warn_node_avoided(actor.node, "the model fails to load there")

    def _handle_unit(self, ref: "Ref[Stats | None]") -> None:
        assignment = self._pool.running[ref]
        try:
            stats = ray.get(ref)
        except RayTaskError as error:  # the unit raised an exception; the actor lives
            self._pool.release(ref)
            self._handle_unit_error(assignment, error)
        except RayError as error:  # the actor died or cannot be reached
            node_is_usable = self._is_usable(assignment.actor.node)
            self._lose_actor(assignment.actor, error, self._policy.on_actor_death(error, node_is_usable))
        else:
            self._pool.release(ref)
            if stats is None:  # the unit was cancelled before it began
                self._queue.put_back(assignment.unit_number)
            else:
                self._finish_unit(assignment, stats)

    def _finish_unit(self, assignment: Assignment, stats: Stats) -> None:
        actor = assignment.actor
        self._backoff.reset()
        self._policy.on_success(actor)
        self._queue.mark_done(assignment.unit_number)
        batch_size, actor.batch_size = actor.batch_size, stats["batch_size"]
        if actor.batch_size < batch_size:
            text = f"to {actor.batch_size}: larger batches do not fit into its device's memory"
            self._warn("batch_size_reduced", f"an actor reduced its batch size {text}", node=actor.node)
        for listener in self._listeners:
            listener.unit_done(stats)

    def _handle_unit_error(self, assignment: Assignment, error: RayTaskError) -> None:
        actor, number, cause = assignment.actor, assignment.unit_number, cause_of(error)
        decision = self._policy.on_unit_error(actor, number, cause, len(self._pool))
        if decision.stop_run:
            self._stopping.output_error = self._stopping.output_error or self._output_error(cause)
        if decision.pause:
            pause_s = self._backoff.record_failure(cause)
            self._warn("store_unreachable", f"the store does not answer; no unit is assigned for {pause_s:.0f} s")
        if decision.exclude_node:
            self._node_health.exclude(actor.node, error)
        if decision.stop_actor:
            self._queue.put_back(*self._pool.kill(actor))
            self._warn("actor_stopped", f"an actor was stopped: {decision.stop_actor}", node=actor.node)
            if actor.node in self._avoided_nodes():
                self._warn_node_avoided(actor.node, decision.stop_actor)
        self._record_failure(number, error, decision)

    def _lose_actor(self, actor: ActorHandle, error: Exception, decision: FailureDecision) -> None:
        """Kill an actor. The failure is that of its running unit; its queued units return to the queue."""
        running, *queued = self._pool.kill(actor)
        if decision.isolate_units:
            self._queue.isolate([running, *queued])
        self._queue.put_back(*queued)
        self._record_failure(running, error, decision)

    def _record_failure(self, number: int, error: Exception, decision: FailureDecision) -> None:
        plan, allowed = self._run.context.plan, self._cluster.unit_attempts
        used = self._queue.attempts_used(number) + int(decision.charge_unit)
        text = f"unit {plan.shard_name(number)}: {brief(error)} ({used} of {allowed} attempts used)"
        self._warn("unit_attempt_failed", text, unit=number)
        if not decision.charge_unit:
            self._queue.put_back(number)
        elif self._policy.may_retry(used):
            self._queue.retry(number, error)
        else:
            self._queue.quarantine(number, error)
            for listener in self._listeners:
                listener.unit_failed(brief(error), len(plan.unit(number)))

    def _warn(self, event: str, text: str, **fields: object) -> None:
        self._progress.log(text, event, "warning", **fields)

    def _warn_node_avoided(self, node: str, reason: str) -> None:
        self._warn("node_avoided", f"node {node} gets no more actors: {reason}", node=node)

    def _is_usable(self, node: str) -> bool:
        """Ask Ray whether a node is alive and does not drain."""
        self._nodes.refresh(max_age_s=0)
        return node in self._nodes.usable

    def _avoided_nodes(self) -> frozenset[str]:
        avoided = self._node_health.avoided_nodes
        return avoided | self._policy.avoided_nodes(self._nodes.usable.keys() - avoided)

    def _output_error(self, cause: BaseException) -> OutputError:
        if isinstance(cause, OSError):
            problem, remedy = f"{self._run.shards}: {cause.strerror}", "make room and run the same command again"
        else:
            problem, remedy = str(cause), "run the same command again"
        return OutputError(f"{problem}; finished shards are kept: {remedy}")


def generate(
    run: Run,
    progress: RunProgress,
    meter: CostMeter | None = None,
    listeners: Sequence[Listener] = (),
    *,
    profile: bool = False,
) -> None:
    """Generate every unfinished unit of the run. Ray must be connected; see `Driver.run` for the errors.

    The first Ctrl-C and a spent budget let the units in flight finish. A second Ctrl-C and SIGTERM stop at once.

    meter:   counts the cost and knows the run's budget; None if there is no limit.
    profile: write a timeline of each unit, see `engine.monitoring.trace`.
    """
    Driver(run, progress, meter, listeners, profile).run()


def measure(context: RunContext, store: Store) -> BatchTiming:
    """Time one batch of the plan's first slots on one actor, and count the actors that fit. Nothing is written."""
    nodes = Nodes(context.spec.cluster)
    actor = start_actor(context, store)
    try:
        ray.get(actor.load.remote())
        nodes.refresh()
        return BatchTiming(ray.get(actor.time_batch.remote()), nodes.target_actors())
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise ModelError(f"model: no batch could be timed ({brief(error)}); see Ray's logs") from None
    finally:
        ray.kill(actor)
