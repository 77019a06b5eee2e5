"""Retries of requests to a store, and uniform errors for the requests that fail for good."""

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from shards.errors import ShardError

_T = TypeVar("_T")
_TRIES = 4
_FIRST_WAIT_S = 0.5
_PERMANENT = (ShardError, FileExistsError, FileNotFoundError, PermissionError, ImportError, ValueError, TypeError)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class FileMissing(ShardError):
    """The file does not exist."""


class AccessRefused(ShardError):
    """The store does not let us read there."""


class StoreUnreachable(ShardError):
    """The store did not answer, or failed by its own fault, at every try. A later try may succeed."""


def call_with_retries(url: str, request: Callable[[], _T], action: str = "read") -> _T:
    """Return the result of `request`, retried after time-outs, broken connections, short reads and server errors.

    action: past participle for messages: "cannot be read".
    Raises FileNotFoundError, FileExistsError, AccessRefused, StoreUnreachable, or another ShardError.
    """
    for attempt in range(_TRIES):
        try:
            return request()
        except Exception as error:  # each backend has its own exceptions, and is imported only where it is needed
            if attempt == _TRIES - 1 or not _is_temporary(error):
                raise _translate(url, error, action) from None
        # Jitter keeps the readers of a cluster from returning together. It must not use the global generator: a reader
        # neither changes nor follows the seed of a training script.
        time.sleep(_FIRST_WAIT_S * 2**attempt * random.Random().uniform(0.5, 1.0))
    raise AssertionError("the last try returns or raises")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return next(iter(str(error).splitlines()), "") or repr(error)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error, its cause, the cause of that, and so on."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _http_status(error: BaseException) -> int | None:
    """Return the HTTP status that caused an error; None if there is none."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for holder, name in ((cause, "status"), (response, "status_code")):  # aiohttp; httpx and requests
            if isinstance(status := getattr(holder, name, None), int):
                return status
    return None


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain. Failed look-ups that led to another request do not count."""
    return [cause for cause in _causes(error) if cause is error or not isinstance(cause, LookupError)][-1]


def _is_temporary(error: Exception) -> bool:
    """Return whether another try may succeed."""
    status = _http_status(error)
    if status is not None:
        return status >= 500 or status in (408, 409, 429)  # 409: another writer is at this name right now
    root = _root_cause(error)
    permanent = isinstance(root, _PERMANENT) or _lacks_credentials(error)
    return not permanent and getattr(root, "errno", None) not in _DISK_FULL


def _translate(url: str, error: Exception, action: str) -> Exception:
    """Return the error to raise for a backend's error."""
    status, root = _http_status(error), _root_cause(error)
    if isinstance(error, (ShardError, FileExistsError)) or getattr(error, "errno", None) in _DISK_FULL:
        return error
    # The http backend raises FileNotFoundError for every failure; only the cause says what it was.
    if status in (404, 410) or (status is None and isinstance(root, FileNotFoundError)):
        return error if isinstance(error, FileNotFoundError) else FileNotFoundError(first_line(error))
    reason = f"{type(root).__name__}: {first_line(root)}"
    if isinstance(error, PermissionError) or status in (401, 403) or _lacks_credentials(error):
        return AccessRefused(f"{url}: access is refused ({reason}); check the permissions and the credentials")
    kind = StoreUnreachable if _is_temporary(error) else ShardError
    return kind(f"{url}: cannot be {action} ({reason})")


def _lacks_credentials(error: BaseException) -> bool:
    return "Credentials" in type(error).__name__  # botocore's and google.auth's, which cannot be imported here
