"""Reading the errors of calls to actors."""

import errno

from ray.exceptions import RayTaskError

from engine.errors import SlotFailed
from shards.storage.retries import first_line

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_disk_full(error: BaseException) -> bool:
    """Return whether a disk accepts no more data."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def cause_of(error: BaseException) -> BaseException:
    """Return the exception that was raised on the actor; for any other error, the error itself."""
    return error.cause if isinstance(error, RayTaskError) else error


def brief(error: BaseException) -> str:
    """Return an error in one line: `Kind: first line of its text`."""
    cause = cause_of(error)
    return first_line(cause) if isinstance(cause, SlotFailed) else f"{type(cause).__name__}: {first_line(cause)}"
