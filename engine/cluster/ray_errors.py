"""Why a call to an actor failed."""

import errno

from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from engine.errors import SlotFailed
from shards.storage.retries import first_line

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def no_room(error: BaseException) -> bool:
    """Whether a disk takes nothing more."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def cause_of(error: BaseException) -> BaseException:
    """What was raised on the actor, where something was; else the error itself."""
    return error.cause if isinstance(error, RayTaskError) else error


def brief(error: BaseException) -> str:
    """`Kind: first line of its text`."""
    cause = cause_of(error)
    return first_line(cause) if isinstance(cause, SlotFailed) else f"{type(cause).__name__}: {first_line(cause)}"


def is_the_units_doing(error: RayError, node_stays: bool) -> bool:
    """Whether a unit may itself have ended the process that was making it.

    Not where its node went or is about to go, and not where nobody knows whether the process lives (ActorUnavailable).
    """
    if isinstance(error, RayActorError):
        return isinstance(error, ActorDiedError) and not error.preempted and node_stays
    return True  # the process was lost in another way, as by the node's memory monitor
