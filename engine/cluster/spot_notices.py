"""Interruption notices of EC2 and Compute Engine, from the metadata service of the machine.

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

# Seconds between a notice and the end of the machine.
_EC2_SPOT_S, _GCE_PREEMPTION_S, _GCE_MAINTENANCE_S = 120.0, 30.0, 60.0
_TIMEOUT_S = 5.0
_LONG_POLL_S = 30
_EC2_TOKEN_SECONDS = "21600"  # noqa: S105
_GCE_HEADERS = {"Metadata-Flavor": "Google"}


class NoSpotNotices(ShardmillError):
    """No metadata service on this machine announces interruptions."""


class MetadataUnavailable(Exception):
    """A metadata service does not answer now."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of the cloud about this machine."""

    text: str


@dataclass(frozen=True, slots=True)
class Interruption(Notice):
    """A notice that this machine ends at `deadline`, in seconds of Unix time."""

    deadline: float


class Cloud(Protocol):
    """A metadata service. pause_s: seconds to wait between two calls of `notices`."""

    name: str
    pause_s: float

    def is_available(self) -> bool:
        """Return whether the service answers on this machine."""
        ...

    def notices(self) -> Sequence[Notice]:
        """Return the current notices; may take half a minute. Raises NoSpotNotices and MetadataUnavailable."""
        ...


class Ec2:
    """The metadata service of Amazon EC2 (IMDSv2). It announces spot interruptions two minutes ahead.

    AWS_EC2_METADATA_SERVICE_ENDPOINT overrides its URL, as for the AWS SDKs.
    """

    name = "EC2"

    def __init__(self, pause_s: float = 5.0) -> None:
        self.pause_s, self._token = pause_s, ""
        endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
        self._server = _MetadataServer(f"{endpoint.rstrip('/')}/latest")

    def is_available(self) -> bool:
        """See `Cloud.is_available`."""
        try:
            self._renew_token()
        except MetadataUnavailable:
            return False
        return bool(self._token)

    def notices(self) -> Sequence[Notice]:
        """See `Cloud.notices`."""
        action, rebalance = self._get("spot/instance-action"), self._get("events/recommendations/rebalance")
        return ec2_notices(action, rebalance, time.time())

    def _get(self, path: str) -> str | None:
        response = self._request(path)
        if response.status == 401:  # there is no token yet, or it has expired
            self._renew_token()
            response = self._request(path)
        return response.text if response.status == 200 else None

    def _request(self, path: str) -> "_Response":
        return self._server.request(f"/meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})

    def _renew_token(self) -> None:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": _EC2_TOKEN_SECONDS}
        response = self._server.request("/api/token", lifetime, method="PUT")
        self._token = response.text if response.status == 200 else ""


class Gce:
    """The metadata service of Google Compute Engine: preemptions, half a minute ahead, and host maintenance.

    GCE_METADATA_HOST overrides its host and port, as for Google's libraries.
    """

    name = "Compute Engine"

    def __init__(self, pause_s: float = 1.0) -> None:
        self.pause_s = pause_s
        host = os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        self._server = _MetadataServer(f"http://{host}/computeMetadata/v1/instance")
        self._etag = "0"  # no state has this ETag, so the first request is answered at once

    def is_available(self) -> bool:
        """See `Cloud.is_available`."""
        try:
            return self._server.request("/", _GCE_HEADERS).headers.get("Metadata-Flavor") == "Google"
        except MetadataUnavailable:
            return False

    def notices(self) -> Sequence[Notice]:
        """See `Cloud.notices`."""
        # The service answers when the state changes, or after the long poll's time.
        query = urlencode({"wait_for_change": "true", "timeout_sec": _LONG_POLL_S, "last_etag": self._etag})
        preempted = self._server.request(f"/preempted?{query}", _GCE_HEADERS, timeout=_LONG_POLL_S + _TIMEOUT_S)
        if preempted.status == 404:
            raise NoSpotNotices(
                "this machine's metadata service announces no preemptions: GKE hides them from pods, and ends pods "
                "with SIGTERM, on which `ray start --block` drains the node by itself"
            )
        self._etag = preempted.headers.get("ETag", "0")
        maintenance = self._server.request("/maintenance-event", _GCE_HEADERS)
        return gce_notices(preempted.text, maintenance.text, time.time())


def detect_cloud() -> Cloud:
    """Return the cloud of this machine. Raises NoSpotNotices."""
    clouds: tuple[Cloud, ...] = (Ec2(), Gce())
    for cloud in clouds:
        if cloud.is_available():
            return cloud
    raise NoSpotNotices(
        "neither EC2's nor Compute Engine's metadata service answers here. It may be hidden from pods (EKS: a hop "
        "limit of 1). Kubernetes ends pods with SIGTERM, on which `ray start --block` drains the node by itself"
    )


def wait_for_interruption(cloud: Cloud, log: Log) -> Interruption:
    """Wait until the cloud announces the end of this machine. Logs every other notice once. Raises NoSpotNotices."""
    logged: set[str] = set()
    while True:
        for notice in _notices(cloud):
            if isinstance(notice, Interruption):
                return notice
            if notice.text not in logged:
                log.message("spot_notice", notice.text, "warning")
                logged.add(notice.text)
        time.sleep(cloud.pause_s)


def ec2_notices(action: str | None, rebalance: str | None, now: float) -> Sequence[Notice]:
    """Read the answers of EC2.

    action:    `{"action": ..., "time": ...}` as soon as the interruption of the machine is decided, else None.
    rebalance: not None if an interruption is likely.
    now:       Unix time in seconds. If `action` holds no time, the deadline is two minutes later.
    """
    if action is not None:
        content = _json_object(action)
        deadline = _unix_time(content.get("time"), now + _EC2_SPOT_S)
        return [Interruption(f"EC2 will {content.get('action', 'interrupt')} this spot machine", deadline)]
    if rebalance is not None:
        return [Notice("EC2 recommends to leave this spot machine: an interruption has become more likely")]
    return []


def gce_notices(preempted: str, maintenance: str, now: float) -> Sequence[Notice]:
    """Read the answers of Compute Engine. now: Unix time in seconds."""
    if preempted.strip() == "TRUE":
        return [Interruption("Compute Engine preempts this machine", now + _GCE_PREEMPTION_S)]
    if maintenance.strip() == "TERMINATE_ON_HOST_MAINTENANCE":
        # A machine with a GPU has an hour, other machines have a minute. The service does not say which applies.
        return [Interruption("Compute Engine will stop this machine for host maintenance", now + _GCE_MAINTENANCE_S)]
    if maintenance.strip() == "MIGRATE_ON_HOST_MAINTENANCE":
        return [Notice("Compute Engine will move this machine to another host, which stops it for a moment")]
    return []


def _notices(cloud: Cloud) -> Sequence[Notice]:
    try:
        return cloud.notices()
    except MetadataUnavailable as error:  # the service may be restarting, as during host maintenance
        return [Notice(f"the metadata service of {cloud.name} gives no answer ({error}); asking again")]


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    text: str
    headers: HTTPMessage


class _MetadataServer:
    """An HTTP client of a metadata service. It uses no proxy: a proxy would answer for its own machine."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path

    def request(
        self, target: str, headers: Mapping[str, str], method: str = "GET", timeout: float = _TIMEOUT_S
    ) -> _Response:
        """Return a response of status 200, 401 or 404. Raises MetadataUnavailable."""
        with closing(HTTPConnection(self._host, self._port, timeout=timeout)) as connection:
            try:
                connection.request(method, self._path + target, headers=dict(headers))
                response = connection.getresponse()
                text = response.read().decode("utf-8", "replace")
            except (OSError, HTTPException) as error:
                raise MetadataUnavailable(type(error).__name__) from None
        if response.status not in (200, 401, 404):
            raise MetadataUnavailable(f"HTTP status {response.status}")
        return _Response(response.status, text, response.headers)


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
