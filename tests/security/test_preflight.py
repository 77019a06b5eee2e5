"""A cluster on which others can run code, and a job that reveals a secret, are refused before any request is sent."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from engine.cluster.cluster_security import check_cluster
from engine.errors import SpecError

TOKEN = "Bearer 12ab"


class Dashboard(BaseHTTPRequestHandler):
    """A dashboard like that of Ray 2.60, with or without the token middleware."""

    wants_token: ClassVar[bool]
    moved: ClassVar[str | None] = None

    def do_GET(self) -> None:
        if self.moved:
            self.send_response(302)
            self.send_header("Location", self.moved)
        elif self.wants_token and self.headers.get("Authorization") != TOKEN:
            self.send_response(401)
        else:
            self.send_response(200 if self.path in ("/api/jobs/", "/login") else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def dashboard(*, wants_token: bool, moved: str | None = None) -> Iterator[int]:
    """Return the port of a dashboard that listens on every address of this machine."""
    handler = type("Handler", (Dashboard,), {"wants_token": wants_token, "moved": moved})
    with ThreadingHTTPServer(("0.0.0.0", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def refusal(check: Callable[[], None]) -> str:
    with pytest.raises(SpecError) as caught:
        check()
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_a_dashboard_that_runs_code_for_everyone_is_refused() -> None:
    with dashboard(wants_token=False) as port:
        text = refusal(lambda: check_cluster(f"0.0.0.0:{port}", {}))
        for word in (f"0.0.0.0:{port}", "RAY_AUTH_MODE=token", "ray get-auth-token", "--set cluster.trusted=true"):
            assert word in text
        for own in (f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", "", None):
            check_cluster(own, {})  # none but this machine's users get there


def test_a_dashboard_that_asks_for_a_token_is_taken() -> None:
    with dashboard(wants_token=True) as port:
        check_cluster(f"0.0.0.0:{port}", {})


def test_a_page_that_asks_to_log_in_is_no_open_dashboard() -> None:
    with dashboard(wants_token=False, moved="/login") as port:
        check_cluster(f"0.0.0.0:{port}", {})


def test_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard(wants_token=False) as port:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert str(port) in refusal(lambda: check_cluster(f"0.0.0.0:{port}", {}))


def test_unreachable_address_is_no_open_dashboard() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-x\r\n")

        Thread(target=answer, daemon=True).start()
        check_cluster(f"0.0.0.0:{port}", {})
    check_cluster(f"0.0.0.0:{port}", {})


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_TOKEN": "x" * 20},
        {"AWS_SECRET_ACCESS_KEY": "y" * 40},
        {"SOME": "hf_" + "z" * 34},
        {"A": "1", "API_KEY": "x" * 8},
    ],
)
def test_a_secret_in_the_jobs_environment_is_refused_by_its_name(variables: dict[str, str]) -> None:
    text = refusal(lambda: check_cluster(None, variables))
    assert f"{list(variables)[-1]} is set in the job's runtime_env" in text
    assert not any(value in text for value in variables.values() if len(value) > 1)


def test_other_variables_are_taken() -> None:
    check_cluster(
        None, {"HF_HOME": "/opt/huggingface", "RAY_JOB_STOP_WAIT_TIME_S": "20", "OPENAI_BASE_URL": "http://h"}
    )
