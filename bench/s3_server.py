"""An S3 server on the loopback interface, moto's, in a process of its own, with delays, faults and a log of requests.

with serve_s3(delay=0.02) as store, store.environment():
    store.put("bucket", "00000.tar", data)
    store.fail("503", method="GET", contains="00000.tar", first=2)   # the second such request and no other
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

ROOT = Path(__file__).parents[1]
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
    """One request that reached the server. part: the value of its Range header, or an empty string."""

    method: str
    path: str
    part: str


@dataclass(frozen=True)
class S3:
    """A running server. endpoint: its URL."""

    endpoint: str

    @contextmanager
    def environment(self, **more: str) -> Iterator[None]:
        """Every S3 client that this process and its children start goes to this server."""
        with patch.dict(
            os.environ, {"AWS_ENDPOINT_URL": self.endpoint, "NO_PROXY": "127.0.0.1", **CREDENTIALS, **more}
        ):
            _forget_clients()
            try:
                yield
            finally:
                _forget_clients()

    def make_bucket(self, bucket: str) -> None:
        """A new, empty bucket."""
        self._s3.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object."""
        self._s3.put_object(Bucket=bucket, Key=key, Body=data)

    def put_folder(self, bucket: str, prefix: str, folder: Path) -> str:
        """Store the files of a folder; returns their `s3://` URL."""
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            self.put(bucket, f"{prefix}/{path.name}", path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    def delay(self, seconds: float) -> None:
        """Wait so long before each answer from now on."""
        self._control(delay=seconds)

    def fail(self, fault: str, *, method: str = "GET", contains: str = "", first: int = 1, count: int = 1) -> None:
        """Answer the first-th such request from now on, and `count` in all, with one of FAULTS.

        409: as S3 answers of two conditional puts of one key at one time; lost: it is done, and the answer is not
        sent; late: it is done and answered after HANGS_S; the others are not done, or not answered whole.
        """
        assert fault in FAULTS
        self._control(fault=[fault, method, contains, first, count])

    def mend(self) -> None:
        """Forget the failures that are still to come."""
        self._control(mend=True)

    def ignore_conditions(self, ignore: bool = True) -> None:
        """Store whatever comes from now on, as servers do that know no If-None-Match: the last writer wins."""
        self._control(ignores=ignore)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the rest of each key that begins with a prefix."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]

    def get(self, bucket: str, key: str) -> bytes:
        """An object's bytes."""
        data: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object."""
        self._s3.delete_object(Bucket=bucket, Key=key)

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Keys of multipart uploads that nobody has completed, which a store keeps and charges for."""
        return [one["Key"] for one in self._s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def refuse_everyone(self, refuse: bool = True) -> None:
        """Ask for permissions from now on: nobody has any."""
        body = b"0" if refuse else b"inf"
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.endpoint}/moto-api/reset-auth", body, plain, method="POST")).close()

    def make_reader(self, *actions: str) -> dict[str, str]:
        """Keys, as environment variables, of a user who may do these actions, such as `s3:GetObject`, and no others.

        They count after `refuse_everyone`.
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
        """Return the requests so far, in the order of their arrival."""
        every = [LoggedRequest(*row) for row in self._control()]
        return [one for one in every if one.method.startswith(method) and contains in one.path]

    @cached_property
    def _s3(self) -> Any:
        return _client(self.endpoint)

    def _control(self, **orders: Any) -> list[list[str]]:
        with urlopen(Request(f"{self.endpoint}/-control", json.dumps(orders).encode(), method="POST")) as answer:
            found: list[list[str]] = json.load(answer)
        return found


@contextmanager
def serve_s3(delay: float = 0.0) -> Iterator[S3]:
    """A server without buckets, while the block runs; `delay` in seconds before each answer."""
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
        child.stdin.close()  # the server's sign to end; also when this process is killed
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


class _Faulty:
    """A WSGI application that delays, notes and sometimes spoils what the wrapped one answers."""

    def __init__(self, app: Any) -> None:
        self._app, self._lock = app, Lock()
        self._delay, self._ignores, self._log = 0.0, False, []  # type: float, bool, list[LoggedRequest]
        self._faults: list[list[Any]] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/-control":
            return self._obey(environ, start)
        request = LoggedRequest(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", ""))
        with self._lock:
            self._log.append(request)
            fault = self._next_fault(request)
        if self._ignores:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        time.sleep(HANGS_S if fault in ("late", "time-out") else self._delay)
        if fault == "lost":
            list(self._app(environ, start))
        if fault in ("hang-up", "lost", "time-out"):
            environ["werkzeug.socket"].shutdown(SHUT_RDWR)
            return []
        if fault in _ERRORS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # or the client's upload breaks first
            code, said = _ERRORS[fault]
            start(f"{fault} {said}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>a fault on request</Message></Error>".encode()]
        answer = self._app(environ, start)
        return answer if fault in (None, "late") else _spoil(fault, b"".join(answer))

    def _obey(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        orders = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self._lock:
            self._delay = orders.get("delay", self._delay)
            self._ignores = orders.get("ignores", self._ignores)
            self._faults += [orders["fault"]] if "fault" in orders else []
            if "mend" in orders:
                self._faults.clear()
            log = [[one.method, one.path, one.part] for one in self._log]
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(log).encode()]

    def _next_fault(self, request: LoggedRequest) -> str | None:
        for order in self._faults:
            fault, method, contains, first, count = order
            if request.method != method or contains not in request.path or count == 0:
                continue
            order[3], order[4] = first - 1, count - (first <= 1)
            if first <= 1:
                return str(fault)
        return None


def _spoil(fault: str, whole: bytes) -> Iterator[bytes]:
    """Half of a body; "short" then ends the connection, "slow" goes on after HANGS_S."""
    yield whole[: len(whole) // 2]
    if fault == "slow":
        time.sleep(HANGS_S)
        yield whole[len(whole) // 2 :]


def _main() -> None:
    import logging
    from threading import Thread

    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # connections that end in the middle are meant
    app = _Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _main()
