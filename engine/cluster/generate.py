"""The driver of a generation: leases units to actors until every one is finished or quarantined.

It owns all retries. A unit is charged only for what it may have caused: an exception of its own, or the death of the
process that was making it. A lost node, a preemption or an unreachable actor costs it nothing but time.
"""

import errno
import json
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayError, RayTaskError

from engine.cluster.actor import start_maker
from engine.cluster.session import room_for_actors
from engine.errors import ModelError, OutputError, Stopped, UnitsFailed
from engine.estimate import Pace
from engine.progress import Progress
from engine.recipe import Recipe
from engine.run import Run
from shards.commit import replace_text, sweep_staging
from shards.errors import ShardmillError
from shards.stats import Stats

_POLL_SECONDS = 0.5
_FAILED_LOADS = 3
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Lease:
    """A unit in the hands of an actor. since: by the driver's monotonic clock, in seconds."""

    actor: Any
    number: int
    since: float


class Dispatcher:
    """Units waiting, actors, and what each actor is doing. It holds O(actors) besides the numbers of waiting units."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._cluster = run.recipe.spec.cluster
        self._waiting = deque(run.pending())
        self._idle: list[Any] = []
        self._loading: dict[ray.ObjectRef[str], Any] = {}
        self._making: dict[ray.ObjectRef[Stats], Lease] = {}
        self._attempts: dict[int, list[str]] = {}
        self._quarantined: dict[int, str] = {}
        self._loaded_once, self._failed_loads = False, 0
        self.draining = False

    def dispatch(self) -> None:
        """Work until nothing is left. Raises UnitsFailed, Stopped, OutputError, and what a model fails to load with."""
        while self._making or (self._waiting and not self.draining):
            self._start_actors()
            self._lease()
            refs: list[Any] = [*self._loading, *self._making]
            ready, _ = ray.wait(refs, timeout=_POLL_SECONDS)
            for ref in ready:
                self._settle_load(ref) if ref in self._loading else self._settle_unit(ref)
            self._end_hung()
            self._release_surplus()
            self._progress.tick(actors=len(self._idle) + len(self._making), loading=len(self._loading))
        if self._waiting:
            raise Stopped(f"stopped with {len(self._waiting)} units to make; run the same command again to go on")
        if self._quarantined:
            number, why = next(iter(self._quarantined.items()))
            plan, failed = self._run.recipe.plan, len(self._quarantined)
            raise UnitsFailed(
                f"{failed} of {plan.n_units} units failed, the first is {plan.shard_name(number)}: {why}; "
                f"see {self._run.folder / 'quarantine'}, and run the same command again to try them anew"
            )

    def close(self) -> None:
        """End all actors; what they were making was not published, or is complete."""
        for actor in [*self._idle, *self._loading.values(), *(lease.actor for lease in self._making.values())]:
            ray.kill(actor)

    def _start_actors(self) -> None:
        have = len(self._idle) + len(self._loading) + len(self._making)
        useful = len(self._making) + (0 if self.draining else len(self._waiting))
        for _ in range(min(useful, room_for_actors(self._cluster)) - have):
            actor = start_maker(self._run.recipe, self._run.shards)
            self._loading[actor.load.remote()] = actor

    def _lease(self) -> None:
        while self._idle and self._waiting and not self.draining:
            actor, number = self._idle.pop(), self._waiting.popleft()
            self._making[actor.make.remote(number)] = Lease(actor, number, time.monotonic())

    def _end_hung(self) -> None:
        allowed = self._cluster.unit_timeout_s
        for ref, lease in list(self._making.items()):
            if time.monotonic() - lease.since > allowed:
                del self._making[ref]
                ray.kill(lease.actor)
                error = TimeoutError(f"not finished after {allowed:g} s (cluster.unit_timeout_s)")
                self._again(lease.number, error, charged=True)

    def _release_surplus(self) -> None:
        """Give up actors that no unit is left for, and those still asked for: an autoscaler may end their nodes."""
        if self._waiting and not self.draining:
            return
        for actor in (*self._idle, *self._loading.values()):
            ray.kill(actor)
        self._idle.clear()
        self._loading.clear()

    def _settle_load(self, ref: "ray.ObjectRef[str]") -> None:
        actor = self._loading.pop(ref)
        try:
            device = ray.get(ref)
        except (RayTaskError, RayActorError) as error:
            with suppress(RayActorError):
                ray.kill(actor)
            self._failed_loads += 1
            # One node may be at fault; when each has failed, or some have, the model is.
            if not self._loaded_once and self._failed_loads >= min(_FAILED_LOADS, len(ray.nodes())):
                cause = error.cause if isinstance(error, RayTaskError) else error
                raise (cause if isinstance(cause, ShardmillError) else ModelError(_short(error))) from error
            self._progress.log(f"an actor could not start: {_short(error)}")
            return
        self._loaded_once = True
        self._idle.append(actor)
        self._progress.log(f"an actor is ready on {device}")

    def _settle_unit(self, ref: "ray.ObjectRef[Stats]") -> None:
        lease = self._making.pop(ref)
        actor, number = lease.actor, lease.number
        try:
            stats = ray.get(ref)
        except ActorUnavailableError as error:  # it may or may not have run: publishing is idempotent
            ray.kill(actor)
            self._again(number, error, charged=False)
        except ActorDiedError as error:
            self._again(number, error, charged=not error.preempted)
        except RayActorError as error:
            self._again(number, error, charged=False)
        except RayTaskError as error:
            self._idle.append(actor)
            self._stop_if_no_room(error.cause)
            self._again(number, error, charged=True)
        except RayError as error:  # the process is lost in another way, as by the node's memory monitor
            ray.kill(actor)
            self._again(number, error, charged=True)
        else:
            self._idle.append(actor)
            self._attempts.pop(number, None)
            self._quarantine_file(number).unlink(missing_ok=True)
            self._progress.unit_done(stats)

    def _again(self, number: int, error: Exception, *, charged: bool) -> None:
        name = self._run.recipe.plan.shard_name(number)
        if charged:
            self._attempts.setdefault(number, []).append("".join(traceback.format_exception(error)))
        used, allowed = len(self._attempts.get(number, [])), self._cluster.unit_attempts
        self._progress.log(f"unit {name}: {_short(error)} ({used} of {allowed} attempts used)")
        if used < allowed:
            self._waiting.appendleft(number)
            return
        self._quarantined[number] = _short(error)
        attempts = self._attempts.pop(number)
        content = json.dumps({"unit": number, "attempts": attempts}, indent=1)
        self._quarantine_file(number).parent.mkdir(exist_ok=True)
        replace_text(self._quarantine_file(number), content)
        self._progress.unit_failed()

    def _quarantine_file(self, number: int) -> Path:
        return self._run.folder / "quarantine" / f"{self._run.recipe.plan.shard_name(number)}.json"

    def _stop_if_no_room(self, cause: BaseException | None) -> None:
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            raise OutputError(
                f"{self._run.shards}: {cause.strerror}; nothing that was finished is lost: make room and run the same "
                "command again"
            )


def generate(run: Run, progress: Progress) -> None:
    """Make every unit of the run that is not finished. Ray must be connected; see `Dispatcher.dispatch` for errors.

    The first Ctrl-C finishes the units in flight, the second and SIGTERM stop at once; in each case the same command
    goes on where this one stopped.
    """
    dispatcher = Dispatcher(run, progress)
    with _stopping(dispatcher, progress):
        try:
            dispatcher.dispatch()
        finally:
            dispatcher.close()
            sweep_staging(run.folder / "quarantine")


@contextmanager
def _stopping(dispatcher: Dispatcher, progress: Progress) -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        if dispatcher.draining or number == signal.SIGTERM:
            error = Stopped(f"stopped by {signal.Signals(number).name}; run the same command again to go on")
            error.exit_code = 128 + number
            raise error
        dispatcher.draining = True
        progress.log("finishing the units in flight; once more Ctrl-C stops at once")

    # After ray.init, which sets a handler of its own for SIGTERM.
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _short(error: BaseException) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    text = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {text[0]}"


def measure(recipe: Recipe, folder: Path) -> Pace:
    """Time one batch of the plan's first slots on one actor; nothing is written."""
    actor = start_maker(recipe, folder)
    try:
        ray.get(actor.load.remote())
        return Pace(ray.get(actor.time_batch.remote()), room_for_actors(recipe.spec.cluster))
    except RayTaskError as error:
        raise error.cause from None
    finally:
        ray.kill(actor)
