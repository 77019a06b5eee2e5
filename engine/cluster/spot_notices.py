"""What a cloud says of a machine that it is about to take away, by the metadata service that answers on the machine.

EC2: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
Compute Engine: https://cloud.google.com/compute/docs/instances/spot and .../compute/docs/gpus/gpu-host-maintenance
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPMessage
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from engine.monitoring.log import Log
from shards.errors import ShardmillError

_SPOT_S, _PREEMPTION_S, _MAINTENANCE_S = 120.0, 30.0, 60.0
_TIMEOUT_S = 5.0
_LONG_POLL_S = 30
_TOKEN_SECONDS = "21600"  # noqa: S105
_GOOGLE = {"Metadata-Flavor": "Google"}


class NoNotices(ShardmillError):
    """No metadata service on this machine tells of interruptions."""


class NoAnswer(Exception):
    """A metadata service gives no answer now."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a cloud says of this machine."""

    text: str


@dataclass(frozen=True, slots=True)
class Interruption(Notice):
    """This machine goes. deadline: when, in seconds of Unix time."""

    deadline: float


class Cloud(Protocol):
    """A metadata service. pause_s: seconds to leave between two calls of `notices`."""

    name: str
    pause_s: float

    def is_here(self) -> bool:
        """Whether it answers on this machine."""
        ...

    def notices(self) -> Sequence[Notice]:
        """What it says now; may take half a minute. Raises NoNotices and NoAnswer."""
        ...


class Ec2:
    """Amazon EC2, by IMDSv2: spot interruptions, two minutes ahead, and recommendations to rebalance, which only warn.

    AWS_EC2_METADATA_SERVICE_ENDPOINT is the service's URL, as for the AWS SDKs.
    """

    name = "EC2"

    def __init__(self, pause_s: float = 5.0) -> None:
        self.pause_s, self._token = pause_s, ""
        endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
        self._server = _Server(f"{endpoint.rstrip('/')}/latest")

    def is_here(self) -> bool:
        """See `Cloud.is_here`."""
        try:
            self._renew_token()
        except NoAnswer:
            return False
        return bool(self._token)

    def notices(self) -> Sequence[Notice]:
        """See `Cloud.notices`."""
        action, rebalance = self._get("spot/instance-action"), self._get("events/recommendations/rebalance")
        return ec2_notices(action, rebalance, time.time())

    def _get(self, path: str) -> str | None:
        answer = self._ask(path)
        if answer.status == 401:  # there is no token yet, or it is six hours old
            self._renew_token()
            answer = self._ask(path)
        return answer.text if answer.status == 200 else None

    def _ask(self, path: str) -> "_Answer":
        return self._server.ask(f"/meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})

    def _renew_token(self) -> None:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
        answer = self._server.ask("/api/token", lifetime, method="PUT")
        self._token = answer.text if answer.status == 200 else ""


class Gce:
    """Google Compute Engine: preemptions, half a minute ahead, and host maintenance.

    GCE_METADATA_HOST is the service's host and port, as for Google's libraries.
    """

    name = "Compute Engine"

    def __init__(self, pause_s: float = 1.0) -> None:
        self.pause_s = pause_s
        host = os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        self._server = _Server(f"http://{host}/computeMetadata/v1/instance")
        self._etag = "0"  # of no state that there is: the first question is answered at once

    def is_here(self) -> bool:
        """See `Cloud.is_here`."""
        try:
            return self._server.ask("/", _GOOGLE).headers.get("Metadata-Flavor") == "Google"
        except NoAnswer:
            return False

    def notices(self) -> Sequence[Notice]:
        """See `Cloud.notices`."""
        wait = urlencode({"wait_for_change": "true", "timeout_sec": _LONG_POLL_S, "last_etag": self._etag})
        preempted = self._server.ask(f"/preempted?{wait}", _GOOGLE, timeout=_LONG_POLL_S + _TIMEOUT_S)
        if preempted.status == 404:
            raise NoNotices(
                "this machine's metadata service does not say whether it is preempted: GKE's hides that from pods, and "
                "ends them with SIGTERM, on which `ray start --block` drains by itself"
            )
        self._etag = preempted.headers.get("ETag", "0")
        maintenance = self._server.ask("/maintenance-event", _GOOGLE)
        return gce_notices(preempted.text, maintenance.text, time.time())


def find_cloud() -> Cloud:
    """The cloud that this machine is of. Raises NoNotices."""
    clouds: tuple[Cloud, ...] = (Ec2(), Gce())
    for cloud in clouds:
        if cloud.is_here():
            return cloud
    raise NoNotices(
        "neither EC2's nor Compute Engine's metadata service answers here; from a pod it may be hidden (EKS: a hop "
        "limit of 1), and Kubernetes ends that with SIGTERM, on which `ray start --block` drains by itself"
    )


def await_interruption(cloud: Cloud, log: Log) -> Interruption:
    """Wait for the notice that this machine goes. Everything else that is said is logged once. Raises NoNotices."""
    logged: set[str] = set()
    while True:
        for notice in _heard(cloud):
            if isinstance(notice, Interruption):
                return notice
            if notice.text not in logged:
                log.say("notice", notice.text, "warning")
                logged.add(notice.text)
        time.sleep(cloud.pause_s)


def ec2_notices(action: str | None, rebalance: str | None, now: float) -> Sequence[Notice]:
    """What EC2 says: `{"action": ..., "time": ...}` once the instance will go, anything of `rebalance` once it may.

    now: Unix time in seconds; two minutes later is the end where no time can be read.
    """
    if action is not None:
        content = _json_object(action)
        deadline = _unix_time(content.get("time"), now + _SPOT_S)
        return [Interruption(f"EC2 will {content.get('action', 'interrupt')} this spot machine", deadline)]
    if rebalance is not None:
        return [Notice("EC2 recommends to leave this spot machine: an interruption has become more likely")]
    return []


def gce_notices(preempted: str, maintenance: str, now: float) -> Sequence[Notice]:
    """What Compute Engine says. now: Unix time in seconds.

    A machine with a GPU has an hour of notice before maintenance, others a minute. It cannot be seen which: a minute.
    """
    if preempted.strip() == "TRUE":
        return [Interruption("Compute Engine preempts this machine", now + _PREEMPTION_S)]
    if maintenance.strip() == "TERMINATE_ON_HOST_MAINTENANCE":
        return [Interruption("Compute Engine will stop this machine for host maintenance", now + _MAINTENANCE_S)]
    if maintenance.strip() == "MIGRATE_ON_HOST_MAINTENANCE":
        return [Notice("Compute Engine will move this machine to another host, which stops it for a moment")]
    return []


def _heard(cloud: Cloud) -> Sequence[Notice]:
    try:
        return cloud.notices()
    except NoAnswer as error:  # it may be restarting, as during host maintenance
        return [Notice(f"the metadata service of {cloud.name} gives no answer ({error}); asking again")]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    text: str
    headers: HTTPMessage


class _Server:
    """Asked directly, whatever proxy the environment names: that one would answer for the machine that it runs on."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path

    def ask(self, target: str, headers: Mapping[str, str], method: str = "GET", timeout: float = _TIMEOUT_S) -> _Answer:
        """One answer, of status 200, 401 or 404. Raises NoAnswer."""
        with closing(HTTPConnection(self._host, self._port, timeout=timeout)) as connection:
            try:
                connection.request(method, self._path + target, headers=dict(headers))
                answer = connection.getresponse()
                text = answer.read().decode("utf-8", "replace")
            except (OSError, HTTPException) as error:
                raise NoAnswer(type(error).__name__) from None
        if answer.status not in (200, 401, 404):
            raise NoAnswer(f"HTTP status {answer.status}")
        return _Answer(answer.status, text, answer.headers)


def _json_object(text: str) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _unix_time(text: object, default: float) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return default
