"""The log lines of the driver. Each method writes one event; the event names are stable."""

from engine.cluster.assignments import ActorHandle
from engine.cluster.ray_errors import brief
from engine.monitoring.run_progress import RunProgress


class DriverLog:
    """A writer of the driver's log events. Their fields name the unit or the node that is concerned."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress

    def actor_ready(self, actor: ActorHandle, device: str) -> None:
        """Log that an actor has loaded the model."""
        self._progress.actor_ready(device, actor.node)

    def model_load_failed(self, actor: ActorHandle, error: BaseException) -> None:
        """Log that an actor could not load the model."""
        self._warn("model_load_failed", f"an actor could not start: {brief(error)}", node=actor.node)

    def node_avoided(self, node: str, reason: str) -> None:
        """Log that no further actor is started on a node."""
        self._warn("node_avoided", f"node {node} gets no more actors: {reason}", node=node)

    def actor_stopped(self, actor: ActorHandle, reason: str) -> None:
        """Log that an actor was killed because of its failures."""
        self._warn("actor_stopped", f"an actor was stopped: {reason}", node=actor.node)

    def unit_attempt_failed(self, number: int, shard: str, error: BaseException, used: int, allowed: int) -> None:
        """Log a failed attempt of a unit, and how many attempts were charged so far."""
        text = f"unit {shard}: {brief(error)} ({used} of {allowed} attempts used)"
        self._warn("unit_attempt_failed", text, unit=number)

    def batch_size_reduced(self, actor: ActorHandle, batch_size: int) -> None:
        """Log that an actor ran out of device memory and continues with smaller batches."""
        text = f"an actor reduced its batch size to {batch_size}: larger batches do not fit into its device's memory"
        self._warn("batch_size_reduced", text, node=actor.node)

    def store_unreachable(self, pause_s: float) -> None:
        """Log that no unit is assigned for a while."""
        self._warn("store_unreachable", f"the store does not answer; no unit is assigned for {pause_s:.0f} s")

    def run_draining(self, reason: str) -> None:
        """Log that no unit is assigned any more."""
        self._progress.log(f"finishing the units in flight: {reason}", "run_draining")

    def _warn(self, event: str, text: str, **fields: object) -> None:
        self._progress.log(text, event, "warning", **fields)
