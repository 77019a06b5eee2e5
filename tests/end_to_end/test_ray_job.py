"""The way onto a cluster: a head with token authentication, `ray job submit`, and no leak of secrets."""

import base64
import json
import os
import re
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
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, Jobs, command, family, hashes

_DEADLINE = 90.0
_PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port",
          "runtime-env-agent-port", "node-manager-port", "object-manager-port", "ray-client-server-port")  # fmt: skip
# Canaries: what a person has in the environment of every node, each with a value that stands nowhere else.
_SECRETS = {
    name: prefix + secrets.token_hex(20)
    for name, prefix in (
        ("RAY_AUTH_TOKEN", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SESSION_TOKEN", "FwoG"), ("HF_TOKEN", "hf_"),
        ("OPENAI_API_KEY", "sk-proj-"),
    )
}  # fmt: skip
_PAGES = (
    "api/jobs/", "api/v0/actors?detail=1", "api/v0/workers?detail=1", "api/v0/tasks?detail=1", "api/v0/nodes?detail=1",
    "api/v0/runtime_envs?detail=1", "nodes?view=summary", "nodes?view=details",
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """A head on loopback. address: of its dashboard. gcs: what nodes and drivers join. home: with all that Ray writes.
    user: environment of its users."""

    address: str
    gcs: str
    home: Path
    user: dict[str, str]

    def ask(self, page: str) -> bytes:
        """Return the answer of the dashboard to a user, also if the request failed."""
        token = {"Authorization": f"Bearer {self.user['RAY_AUTH_TOKEN']}"}
        try:
            request = urllib.request.Request(f"{self.address}/{page}", headers=token)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.read()


@dataclass(frozen=True)
class Job:
    """A finished `ray job submit`."""

    cluster: Cluster
    run: Path
    completed: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="shardmill-"))  # a short name: the path of a socket may have 107 characters
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    user = os.environ | {"HOME": str(home), "PATH": path, "RAY_AUTH_MODE": "token"} | _SECRETS
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
        yield Cluster(address, f"127.0.0.1:{ports['port']}", home, user)
    finally:
        started = family(head.pid)
        for process in (*started, head):
            process.kill()
        head.wait()
        psutil.wait_procs(started, timeout=20)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def job(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Job:
    run = tmp_path_factory.mktemp("job") / "run"
    line = ["ray", "job", "submit", "--address", cluster.address, "--working-dir", ".", "--"]
    line += ["python", "-m", "jobs", "generate", "jobs/specs/smoke.yaml", "--out", str(run)]
    completed = subprocess.run(
        line, cwd=ROOT, env=cluster.user, capture_output=True, text=True, timeout=180, check=False
    )
    return Job(cluster, run, completed)


def test_job_runs_on_a_cluster_with_tokens(job: Job, jobs: Jobs) -> None:
    assert status(f"{job.cluster.address}/api/jobs/", None) == 401, "without the token nobody gets in"
    output = job.completed.stdout + job.completed.stderr
    assert job.completed.returncode == 0, output
    assert "64 of 64 images" in output
    assert len(hashes(job.run)) == 4
    verified = jobs("verify", job.run)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_no_secret_of_the_environment_is_told_anywhere(job: Job) -> None:
    home = job.cluster.home
    pages = {"ray job submit": (job.completed.stdout + job.completed.stderr).encode()}
    pages |= {str(path): content(path) for folder in (job.run, home) for path in files(folder)}
    ids = [
        submission["submission_id"]
        for submission in json.loads(job.cluster.ask("api/jobs/"))
        if submission["submission_id"]
    ]
    pages |= {
        page: job.cluster.ask(page) for page in (*_PAGES, *(f"api/jobs/{submission_id}/logs" for submission_id in ids))
    }
    assert ids
    assert re.search(r"raysubmit_\w+", pages["api/jobs/"].decode())
    assert b"64 of 64 images" in pages[f"api/jobs/{ids[0]}/logs"]
    names = [Path(name).name for name in pages]
    assert {"raylet.out", "spec.yaml", "00000.tar", "00000.parquet", "report.html"} <= set(names)
    assert [name for name in names if name.startswith("worker-") and name.endswith(".out")], "the actors' logs"
    for name, secret in _SECRETS.items():
        forms = (secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")[:-2])
        tellers = [place for place, data in pages.items() if any(form in data for form in forms)]
        assert not tellers, f"{name} stands in {tellers}"


def test_a_job_whose_own_environment_tells_a_secret_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    secret = "hf_" + secrets.token_hex(20)
    environment = json.dumps({"runtime_env": {"env_vars": {"HF_TOKEN": secret}}})
    user = cluster.user | {
        "RAY_ADDRESS": cluster.gcs,
        "RAY_JOB_CONFIG_JSON_ENV_VAR": environment,
    }  # as `ray job` sets them
    line = command("generate", "jobs/specs/smoke.yaml", "--out", tmp_path / "run")
    completed = subprocess.run(line, cwd=ROOT, env=user, capture_output=True, text=True, timeout=180, check=False)
    assert completed.returncode == 2, completed.stdout + completed.stderr
    assert "error: cluster: HF_TOKEN is set in the job's runtime_env" in completed.stderr
    assert secret not in completed.stdout + completed.stderr
    assert not list((tmp_path / "run").rglob("*.tar"))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def content(path: Path) -> bytes:
    """Return the content of a file. Parquet is compressed, so it is decoded."""
    return repr(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else path.read_bytes()


def status(url: str, token: str | None) -> int:
    """Return the HTTP status of a page, or 0 if there is no server."""
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
    """Return ports that no process listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports
