"""Asking a store again where it may help, and saying in our words where it does not."""

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from shards.errors import ShardError

_T = TypeVar("_T")
_TRIES = 4
_FIRST_WAIT_S = 0.5
_FINAL = (ShardError, FileExistsError, FileNotFoundError, PermissionError, ImportError, ValueError, TypeError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Missing(ShardError):
    """There is no such file."""


class Refused(ShardError):
    """The store does not let us read there."""


class Unreachable(ShardError):
    """The store did not answer, or failed by its own fault, at every try; later it may not."""


def retried(url: str, act: Callable[[], _T], what: str = "read") -> _T:
    """What `act` returns, tried again after time-outs, broken connections, short reads and a server's own failures.

    Waits twice as long each time, with jitter, so that the readers of a cluster do not come back together.
    what: is done, for messages: "cannot be read". Raises FileNotFoundError and FileExistsError where the store says so,
    Refused, Unreachable, or ShardError; each names the URL.
    """
    for attempt in range(_TRIES):
        try:
            return act()
        except Exception as error:  # each backend has exceptions of its own, and is imported only where it is needed
            if attempt == _TRIES - 1 or not _may_pass(error):
                raise _in_our_words(url, error, what) from None
        # Not the global generator: a reader must neither change nor follow the seed of a training script.
        time.sleep(_FIRST_WAIT_S * 2**attempt * random.Random().uniform(0.5, 1.0))
    raise AssertionError("the last try returns or raises")


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from, down to the first."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error came from, where one can be found."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):  # botocore
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for holder, name in ((one, "status"), (response, "status_code")):  # aiohttp; httpx and requests
            if isinstance(status := getattr(holder, name, None), int):
                return status
    return None


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong, where backends raise one error from another; not where it was looked up."""
    return [one for one in _causes(error) if one is error or not isinstance(one, LookupError)][-1]


def _may_pass(error: Exception) -> bool:
    """Whether another try may end differently."""
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (408, 409, 429)  # 409: another writer is at this name right now
    first = _first_cause(error)
    return (
        not isinstance(first, _FINAL) and not _lacks_credentials(error) and getattr(first, "errno", None) not in _FULL
    )


def _in_our_words(url: str, error: Exception, what: str) -> Exception:
    status, first = _status(error), _first_cause(error)
    # The http backend calls every failure FileNotFoundError, and says in the cause what it was.
    missing = status in (404, 410) or (status is None and isinstance(first, FileNotFoundError))
    if isinstance(error, (ShardError, FileExistsError)) or getattr(error, "errno", None) in _FULL:
        return error
    if missing:
        return error if isinstance(error, FileNotFoundError) else FileNotFoundError(first_line(error))
    reason = f"{type(first).__name__}: {first_line(first)}"
    if isinstance(error, PermissionError) or status in (401, 403) or _lacks_credentials(error):
        return Refused(f"{url}: access is refused ({reason}); look at the permissions and the credentials")
    kind = Unreachable if _may_pass(error) else ShardError
    return kind(f"{url}: cannot be {what} ({reason})")


def _lacks_credentials(error: BaseException) -> bool:
    return "Credentials" in type(error).__name__  # botocore's and google.auth's, which cannot be imported here


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).splitlines()), "") or repr(error)
