"""A moto S3 server on the loopback interface, in its own process, with delays, faults and a log of requests.

with serve_s3(delay=0.02) as store, store.environment():
    store.put("bucket", "00000.tar", data)
    store.fail("503", method="GET", contains="00000.tar", first=2)   # only the second such request
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from socket import SHUT_RDWR
from threading import Lock
from typing import Any
from unittest.mock import patch
from urllib.request import Request, urlopen

from bench.machine import ROOT

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
FAULTS = ("500", "503", "409", "hang-up", "lost", "late", "short", "slow", "time-out")
HANGS_S = 20.0
_ERRORS = {
    "409": ("ConditionalRequestConflict", "Conflict"),
    "500": ("InternalError", "Internal Server Error"),
    "503": ("ServiceUnavailable", "Service Unavailable"),
}


@dataclass(frozen=True)
class LoggedRequest:
    """A request that reached the server. byte_range: the value of its Range header, or an empty string."""

    method: str
    path: str
    byte_range: str


@dataclass(frozen=True)
class S3:
    """A running server. endpoint: its URL."""

    endpoint: str

    @contextmanager
    def environment(self, **more: str) -> Iterator[None]:
        """Direct every S3 client that this process and its children start to this server."""
        with patch.dict(
            os.environ, {"AWS_ENDPOINT_URL": self.endpoint, "NO_PROXY": "127.0.0.1", **CREDENTIALS, **more}
        ):
            _forget_clients()
            try:
                yield
            finally:
                _forget_clients()

    def make_bucket(self, bucket: str) -> None:
        """Create an empty bucket."""
        self._s3.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object."""
        self._s3.put_object(Bucket=bucket, Key=key, Body=data)

    def put_folder(self, bucket: str, prefix: str, folder: Path) -> str:
        """Store the files of a folder; return their `s3://` URL."""
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            self.put(bucket, f"{prefix}/{path.name}", path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    def delay(self, seconds: float) -> None:
        """Wait this long before each answer from now on."""
        self._control(delay=seconds)

    def fail(self, fault: str, *, method: str = "GET", contains: str = "", first: int = 1, count: int = 1) -> None:
        """Answer `count` matching requests from now on, beginning with number `first`, with one of FAULTS.

        409:  the answer of S3 to one of two simultaneous conditional puts of a key.
        lost: the request is executed, and the answer is not sent.
        late: the request is executed, and answered after HANGS_S.
        With every other fault, the request is not executed or its answer is cut.
        """
        assert fault in FAULTS
        self._control(fault=[fault, method, contains, first, count])

    def mend(self) -> None:
        """Cancel all pending faults."""
        self._control(mend=True)

    def ignore_conditions(self, ignore: bool = True) -> None:
        """Ignore If-None-Match from now on, as some servers do: the last writer wins."""
        self._control(ignores=ignore)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys that begin with a prefix, without the prefix."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]

    def get(self, bucket: str, key: str) -> bytes:
        """Return the bytes of an object."""
        data: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Return the keys of incomplete multipart uploads, which a store keeps and charges for."""
        return [upload["Key"] for upload in self._s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def refuse_everyone(self, refuse: bool = True) -> None:
        """Deny every request from now on, or allow all requests again."""
        body = b"0" if refuse else b"inf"
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.endpoint}/moto-api/reset-auth", body, plain, method="POST")).close()

    def make_reader(self, *actions: str) -> dict[str, str]:
        """Create a user who may do only these actions, such as `s3:GetObject`.

        Return the keys as environment variables. The server checks permissions only after `refuse_everyone`.
        """
        iam = _client(self.endpoint, "iam")
        name = f"reader-{len(iam.list_users()['Users'])}"
        iam.create_user(UserName=name)
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="reads", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def requests(self, method: str = "", contains: str = "") -> list[LoggedRequest]:
        """Return the requests so far in the order of their arrival, filtered by method and path."""
        requests = [LoggedRequest(*row) for row in self._control()]
        return [request for request in requests if request.method.startswith(method) and contains in request.path]

    @cached_property
    def _s3(self) -> Any:
        return _client(self.endpoint)

    def _control(self, **settings: Any) -> list[list[str]]:
        with urlopen(Request(f"{self.endpoint}/-control", json.dumps(settings).encode(), method="POST")) as answer:
            rows: list[list[str]] = json.load(answer)
        return rows


@contextmanager
def serve_s3(delay: float = 0.0) -> Iterator[S3]:
    """Run a server without buckets while the block runs. delay: seconds before each answer."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.s3_server"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | CREDENTIALS,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        store = S3(child.stdout.readline().strip())
        store.delay(delay)
        yield store
    finally:
        child.stdin.close()  # the server ends when its input closes, so also when this process is killed
        child.wait(10)
        child.stdout.close()


def _client(endpoint: str, service: str = "s3") -> Any:
    import boto3  # type: ignore[import-untyped]

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=endpoint, **keys)


def _forget_clients() -> None:
    with suppress(ImportError):
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()


class _FaultyApp:
    """A WSGI application that delays, logs and sometimes spoils the answers of another one."""

    def __init__(self, app: Any) -> None:
        self._app, self._lock = app, Lock()
        self._delay, self._ignores_conditions = 0.0, False
        self._log: list[LoggedRequest] = []
        self._faults: list[list[Any]] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/-control":
            return self._configure(environ, start)
        request = LoggedRequest(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", ""))
        with self._lock:
            self._log.append(request)
            fault = self._next_fault(request)
        if self._ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        time.sleep(HANGS_S if fault in ("late", "time-out") else self._delay)
        if fault == "lost":
            list(self._app(environ, start))
        if fault in ("hang-up", "lost", "time-out"):
            environ["werkzeug.socket"].shutdown(SHUT_RDWR)
            return []
        if fault in _ERRORS:
            environ["wsgi.input"].read(
                int(environ.get("CONTENT_LENGTH") or 0)
            )  # unread input would break the client's upload first
            code, reason = _ERRORS[fault]
            start(f"{fault} {reason}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>a fault on request</Message></Error>".encode()]
        answer = self._app(environ, start)
        return answer if fault in (None, "late") else _spoil(fault, b"".join(answer))

    def _configure(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        settings = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self._lock:
            self._delay = settings.get("delay", self._delay)
            self._ignores_conditions = settings.get("ignores", self._ignores_conditions)
            self._faults += [settings["fault"]] if "fault" in settings else []
            if "mend" in settings:
                self._faults.clear()
            log = [[request.method, request.path, request.byte_range] for request in self._log]
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(log).encode()]

    def _next_fault(self, request: LoggedRequest) -> str | None:
        for pending in self._faults:
            fault, method, contains, first, count = pending
            if request.method != method or contains not in request.path or count == 0:
                continue
            pending[3], pending[4] = first - 1, count - (first <= 1)
            if first <= 1:
                return str(fault)
        return None


def _spoil(fault: str, body: bytes) -> Iterator[bytes]:
    """Yield half of a body. After that, "short" ends the connection and "slow" continues after HANGS_S."""
    yield body[: len(body) // 2]
    if fault == "slow":
        time.sleep(HANGS_S)
        yield body[len(body) // 2 :]


def _main() -> None:
    import logging
    from threading import Thread

    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # cut connections are intended
    app = _FaultyApp(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _main()
