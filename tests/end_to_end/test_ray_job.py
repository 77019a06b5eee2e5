"""The way onto a cluster: a head with token authentication, and `ray job submit`."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT, Jobs, family, hashes

_DEADLINE = 90.0
_PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port",
          "runtime-env-agent-port", "node-manager-port", "object-manager-port", "ray-client-server-port")  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, dict[str, str]]]:
    """Address of the dashboard of a cluster on loopback, and the environment of its users."""
    home = Path(tempfile.mkdtemp(prefix="shardmill-"))  # a short name: the path of a socket may have 107 characters
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    user = os.environ | {
        "HOME": str(home),
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    line = ["ray", "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2", "--include-dashboard=true",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
            f"--temp-dir={home / 'ray'}", *(f"--{name}={port}" for name, port in ports.items())]  # fmt: skip
    with (home / "head.log").open("w") as log:
        head = subprocess.Popen(line, env=user, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        deadline = time.monotonic() + _DEADLINE
        while status(f"{address}/api/version", user["RAY_AUTH_TOKEN"]) != 200:
            assert head.poll() is None, (home / "head.log").read_text()
            assert time.monotonic() < deadline, (home / "head.log").read_text()
            time.sleep(0.2)
        yield address, user
    finally:
        started = family(head.pid)
        for one in (*started, head):
            one.kill()
        head.wait()
        psutil.wait_procs(started, timeout=20)
        shutil.rmtree(home, ignore_errors=True)


def test_job_runs_on_a_cluster_with_tokens(cluster: tuple[str, dict[str, str]], jobs: Jobs, tmp_path: Path) -> None:
    address, user = cluster
    assert status(f"{address}/api/jobs/", None) == 401, "without the token nobody gets in"
    run = tmp_path / "run"
    job = ["python", "-m", "jobs", "generate", "jobs/specs/smoke.yaml", "--out", str(run)]
    line = ["ray", "job", "submit", "--address", address, "--working-dir", ".", "--", *job]
    found = subprocess.run(line, cwd=ROOT, env=user, capture_output=True, text=True, timeout=180, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "64 of 64 images" in found.stdout + found.stderr
    assert len(hashes(run)) == 4
    verified = jobs("verify", run)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def status(url: str, token: str | None) -> int:
    """HTTP status of a page; 0 where nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found
