"""All rules about what follows from a failure. The driver carries out what is decided here."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from ray.exceptions import ActorDiedError, RayActorError, RayError

from engine.cluster.assignments import ActorHandle
from engine.cluster.ray_errors import is_disk_full
from engine.errors import NoStagingRoom, SlotFailed
from engine.models.devices import device_is_lost
from shards.errors import ShardError
from shards.storage.retries import AccessRefused, StoreUnreachable, first_line

# Stopped actors after which a node is avoided, and, times the size of the pool, after which units are charged.
_MAX_STOPS = 3


@dataclass(frozen=True)
class FailureDecision:
    """What follows from a failure."""

    charge_unit: bool = False  # the failure uses up one attempt; a unit that is not charged is retried at once
    isolate_units: bool = False  # all units of the actor run alone from now on
    stop_actor: str = ""  # why the actor is killed; "" if it goes on. A lost or overdue actor is killed anyway
    exclude_node: bool = False  # no further actor is started on the actor's node
    pause: bool = False  # no unit is assigned for a while
    stop_run: bool = False  # no unit is assigned any more, since no unit could be stored


class FailurePolicy:
    """The rules that decide whether a failure is charged to the unit, the actor, the node, the store or the run.

    After an illegal memory access or a hardware fault, every further call of a process fails within milliseconds. If
    units were charged for all of these failures, one broken device would quarantine a whole run. So an actor is stopped
    if its error shows that the device will not recover, and at its second failure in a row. That second failure is
    charged only if it hit the same unit as the first one. Each failure that is not charged to a unit removes one actor
    that has charged a unit or cannot go on, so the run terminates.

    max_attempts: charged failures after which a unit is quarantined.
    one_disk:     all actors store shards on the same file system. If it is full, no unit can be stored.
    """

    def __init__(self, max_attempts: int, one_disk: bool) -> None:
        self._max_attempts, self._one_disk = max_attempts, one_disk
        self._stopping_run = False
        self._stopped_actors = 0
        self._stops_by_node: Counter[str] = Counter()

    def may_retry(self, attempts: int) -> bool:
        """Return whether a unit is retried after so many charged failures."""
        return attempts < self._max_attempts

    def on_success(self, actor: ActorHandle) -> None:
        """Record that an actor finished a unit."""
        if not actor.has_finished_unit:  # a later unit tells nothing about actors that started there meanwhile
            del self._stops_by_node[actor.node]
        actor.has_finished_unit, actor.last_failed_unit, self._stopped_actors = True, None, 0

    def on_unit_error(self, actor: ActorHandle, number: int, error: BaseException, pool_size: int) -> FailureDecision:
        """Decide what follows from an exception that was raised while an actor made a unit."""
        if isinstance(error, NoStagingRoom):
            return FailureDecision(stop_actor=first_line(error), exclude_node=True)
        # Units in flight meet the same full disk or refused access. None of them is charged for it.
        self._stopping_run |= isinstance(error, AccessRefused) or (self._one_disk and is_disk_full(error))
        if self._stopping_run:
            return FailureDecision(stop_run=True)
        if isinstance(error, StoreUnreachable):
            return FailureDecision(pause=True)
        if isinstance(error, SlotFailed | ShardError):  # of the unit's own content or files: the same on every actor
            return FailureDecision(charge_unit=True)
        return self._on_unknown_error(actor, number, error, pool_size)

    def on_actor_death(self, error: RayError, node_is_usable: bool) -> FailureDecision:
        """Decide about a dead or unreachable actor. node_is_usable: its node is alive and does not drain."""
        charge = True  # for other errors than these: the process was lost alone, as to the node's memory monitor
        if isinstance(error, RayActorError):
            # After ActorUnavailableError nobody knows whether the process lives. A killed node shows as this error
            # after 2 s, and Ray declares it dead only after 15 s.
            charge = isinstance(error, ActorDiedError) and not error.preempted and node_is_usable
        return FailureDecision(charge_unit=charge, isolate_units=charge)

    def on_timeout(self) -> FailureDecision:
        """Decide what follows from a unit that ran longer than cluster.unit_timeout_s."""
        return FailureDecision(charge_unit=True)

    def avoided_nodes(self, nodes: Collection[str]) -> frozenset[str]:
        """Return those of these nodes where three actors in a row were stopped before they finished a unit."""
        avoided = frozenset(node for node in nodes if self._stops_by_node[node] >= _MAX_STOPS)
        return avoided if avoided != set(nodes) else frozenset()  # on all nodes: the units may be at fault

    def _on_unknown_error(
        self, actor: ActorHandle, number: int, error: BaseException, pool_size: int
    ) -> FailureDecision:
        """Decide about an error for which the unit or the device may be at fault."""
        broken, last_failed, actor.last_failed_unit = device_is_lost(error), actor.last_failed_unit, number
        is_first_failure = last_failed is None and not broken
        # If no unit finishes anywhere, the units are at fault and not the actors.
        if is_first_failure or self._stopped_actors >= _MAX_STOPS * pool_size:
            return FailureDecision(charge_unit=True)
        self._stopped_actors += 1
        self._stops_by_node[actor.node] += not actor.has_finished_unit
        return FailureDecision(
            charge_unit=last_failed in (None, number),
            stop_actor="its units fail, and may succeed on another actor",
        )
