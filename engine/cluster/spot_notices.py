"""Interruption notices of EC2 and Compute Engine, from the metadata service of the machine.

EC2: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
Compute Engine: https://cloud.google.com/compute/docs/instances/spot and .../compute/docs/gpus/gpu-host-maintenance
"""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, ClassVar
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


class Cloud(ABC):
    """A metadata service. pause_s: seconds to wait between two calls of `notices`."""

    name: ClassVar[str]

    def __init__(self, url: str, pause_s: float) -> None:
        self.pause_s, parts = pause_s, urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")

    @abstractmethod
    def is_available(self) -> bool:
        """Return whether the service is that of this machine. Raises MetadataUnavailable."""

    @abstractmethod
    def notices(self) -> Sequence[Notice]:
        """Return the current notices; may take half a minute. Raises NoSpotNotices and MetadataUnavailable."""

    def _request(
        self, target: str, headers: Mapping[str, str], method: str = "GET", timeout: float = _TIMEOUT_S
    ) -> tuple[HTTPResponse, str]:
        """Return a response of status 200, 401 or 404, and its text. Raises MetadataUnavailable."""
        # HTTPConnection uses no proxy: a proxy would answer for its own machine.
        with closing(HTTPConnection(self._host, self._port, timeout=timeout)) as connection:
            try:
                connection.request(method, self._path + target, headers=dict(headers))
                response = connection.getresponse()
                text = response.read().decode("utf-8", "replace")
            except (OSError, HTTPException) as error:
                raise MetadataUnavailable(type(error).__name__) from None
        if response.status not in (200, 401, 404):
            raise MetadataUnavailable(f"HTTP status {response.status}")
        return response, text


class Ec2(Cloud):
    """The metadata service of Amazon EC2 (IMDSv2). It announces spot interruptions two minutes ahead.

    AWS_EC2_METADATA_SERVICE_ENDPOINT overrides its URL, as for the AWS SDKs.
    """

    name = "EC2"

    def __init__(self, pause_s: float = 5.0) -> None:
        endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
        super().__init__(f"{endpoint.rstrip('/')}/latest", pause_s)
        self._token = ""

    def is_available(self) -> bool:
        """Return whether the service gives a token."""
        self._renew_token()
        return bool(self._token)

    def notices(self) -> Sequence[Notice]:
        """Return the notices; see `Cloud.notices`."""
        action, rebalance = self._read("spot/instance-action"), self._read("events/recommendations/rebalance")
        return ec2_notices(action, rebalance, time.time())

    def _read(self, path: str) -> str | None:
        for _ in range(2):
            response, text = self._request(f"/meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})
            if response.status != 401:
                return text if response.status == 200 else None
            self._renew_token()  # there is no token yet, or it has expired
        return None

    def _renew_token(self) -> None:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": _EC2_TOKEN_SECONDS}
        response, text = self._request("/api/token", lifetime, method="PUT")
        self._token = text if response.status == 200 else ""


class Gce(Cloud):
    """The metadata service of Google Compute Engine: preemptions, half a minute ahead, and host maintenance.

    GCE_METADATA_HOST overrides its host and port, as for Google's libraries.
    """

    name = "Compute Engine"

    def __init__(self, pause_s: float = 1.0) -> None:
        host = os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        super().__init__(f"http://{host}/computeMetadata/v1/instance", pause_s)
        self._etag = "0"  # no state has this ETag, so the first request is answered at once

    def is_available(self) -> bool:
        """Return whether the service is Google's."""
        response, _ = self._request("/", _GCE_HEADERS)
        return response.headers.get("Metadata-Flavor") == "Google"

    def notices(self) -> Sequence[Notice]:
        """Return the notices as soon as the state changes; see `Cloud.notices`."""
        query = urlencode({"wait_for_change": "true", "timeout_sec": _LONG_POLL_S, "last_etag": self._etag})
        response, preempted = self._request(f"/preempted?{query}", _GCE_HEADERS, timeout=_LONG_POLL_S + _TIMEOUT_S)
        if response.status == 404:
            raise NoSpotNotices(
                "this machine's metadata service announces no preemptions: GKE hides them from pods, and ends pods "
                "with SIGTERM, on which `ray start --block` drains the node by itself"
            )
        self._etag = response.headers.get("ETag", "0")
        _, maintenance = self._request("/maintenance-event", _GCE_HEADERS)
        return gce_notices(preempted, maintenance, time.time())


def detect_cloud() -> Cloud:
    """Return the cloud of this machine. Raises NoSpotNotices."""
    for cloud in (Ec2(), Gce()):
        with suppress(MetadataUnavailable):
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
        try:
            notices = cloud.notices()
        except MetadataUnavailable as error:  # the service may be restarting, as during host maintenance
            notices = [Notice(f"the metadata service of {cloud.name} gives no answer ({error}); asking again")]
        for notice in notices:
            if isinstance(notice, Interruption):
                return notice
            if notice.text not in logged:
                log.message("spot_notice", notice.text, "warning")
                logged.add(notice.text)
        time.sleep(cloud.pause_s)


def ec2_notices(action: str | None, rebalance: str | None, now: float) -> Sequence[Notice]:
    """Read the answers of EC2. now: Unix time in seconds.

    action:    `{"action": ..., "time": ...}` as soon as the interruption of the machine is decided, else None.
    rebalance: not None if an interruption is likely.
    """
    if action is not None:
        content: dict[str, Any] = {}
        deadline = now + _EC2_SPOT_S  # if the answer holds no time
        with suppress(ValueError, TypeError, OverflowError):  # neither JSON, nor an object, nor a time
            content = dict(json.loads(action))
            deadline = datetime.fromisoformat(str(content.get("time"))).timestamp()
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
