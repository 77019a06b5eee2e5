"""The metadata services of EC2 and Compute Engine on the loopback interface, as far as they tell of interruptions.

with serve_metadata() as service, service.environment():
    service.say(instance_action={"action": "terminate", "time": "2026-01-01T00:02:00Z"})
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

_EC2 = {
    "/latest/meta-data/spot/instance-action": "instance_action",
    "/latest/meta-data/events/recommendations/rebalance": "rebalance",
}
_GCE = "/computeMetadata/v1/instance/"


class Metadata:
    """A running service. clouds: those that it pretends to be, of `ec2` and `gce`."""

    def __init__(self, clouds: tuple[str, ...], address: str) -> None:
        self.clouds, self.address = clouds, address
        self._state: dict[str, Any] = {"preempted": "FALSE", "maintenance_event": "NONE"}
        self._changed, self._version = Condition(), 1
        self._tokens: set[str] = set()
        self._failing = 0
        self.requests: list[str] = []

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Clients in this process and its children ask here, whatever proxy they are told of."""
        nobody = "http://127.0.0.1:9"
        with patch.dict(
            os.environ,
            {
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{self.address}/",
                "GCE_METADATA_HOST": self.address,
                "HTTP_PROXY": nobody,
                "http_proxy": nobody,
            },
        ):
            yield

    def say(self, **state: Any) -> None:
        """Of EC2 `instance_action` and `rebalance`, JSON objects or None; of Compute Engine `preempted`,
        `maintenance_event`, texts or None."""
        with self._changed:
            self._state |= state
            self._version += 1
            self._changed.notify_all()

    def fail(self, count: int) -> None:
        """Answer so many of the next requests with 503."""
        self._failing = count

    def forget_tokens(self) -> None:
        """Expire all tokens, as the service does after six hours."""
        self._tokens.clear()

    def answer(self, method: str, target: str, headers: Any) -> tuple[int, str, dict[str, str]]:
        """Return status, body and headers."""
        url = urlsplit(target)
        self.requests.append(url.path)
        if self._failing:
            self._failing -= 1
            return 503, "", {}
        if url.path.startswith("/latest/") and "ec2" in self.clouds:
            return self._as_ec2(method, url.path, headers)
        if url.path.startswith(_GCE) and "gce" in self.clouds:
            return self._as_gce(url.path.removeprefix(_GCE), parse_qs(url.query), headers)
        return 404, "", {}

    def _as_ec2(self, method: str, path: str, headers: Any) -> tuple[int, str, dict[str, str]]:
        if path == "/latest/api/token":
            if method != "PUT" or not 1 <= int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600:
                return 400, "", {}
            token = f"token-{len(self.requests)}"
            self._tokens.add(token)
            return 200, token, {}
        if headers["X-aws-ec2-metadata-token"] not in self._tokens:
            return 401, "", {}
        content = self._state.get(_EC2.get(path, ""))
        return (404, "", {}) if content is None else (200, json.dumps(content), {})

    def _as_gce(self, key: str, query: dict[str, list[str]], headers: Any) -> tuple[int, str, dict[str, str]]:
        flavor = {"Metadata-Flavor": "Google"}
        if headers["Metadata-Flavor"] != "Google":
            return 403, "", flavor
        if not key:
            return 200, "hostname\nid\n", flavor
        with self._changed:
            if query.get("wait_for_change") == ["true"]:
                seen = query["last_etag"][0]
                self._changed.wait_for(lambda: str(self._version) != seen, float(query["timeout_sec"][0]))
            content = self._state.get(key.replace("-", "_"))
            flavor["ETag"] = str(self._version)
        return (404, "", flavor) if content is None else (200, content, flavor)


@contextmanager
def serve_metadata(*clouds: str) -> Iterator[Metadata]:
    """Run a service that reports no interruption while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body, headers = service.answer(self.command, self.path, self.headers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service = Metadata(clouds, f"127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
