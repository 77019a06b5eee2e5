"""Checks before a run joins a cluster: that strangers cannot run code there, and that the job exposes no secret."""

from collections.abc import Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from engine.config.credentials import is_secret
from engine.errors import SpecError

_OVERRIDE = "If everyone who can reach the cluster is trusted, pass --set cluster.trusted=true"
_TIMEOUT_S = 5.0


def check_cluster(dashboard: str | None, variables: Mapping[str, str]) -> None:
    """Raise SpecError if a cluster must not be trusted with a run.

    dashboard: `host:port`; variables: `env_vars` of the job's runtime environment.
    """
    if dashboard and _is_public(dashboard) and _answers_without_token(dashboard):
        raise SpecError(
            f"cluster: Ray's dashboard at {dashboard} runs code for everyone who can reach it. Start Ray on every node "
            "with RAY_AUTH_MODE=token\nand a token (ray get-auth-token --generate), or the head with "
            f"--dashboard-host=127.0.0.1. {_OVERRIDE}"
        )
    if secrets := sorted(name for name, value in variables.items() if is_secret(name, value)):
        raise SpecError(
            f"cluster: {secrets[0]} is set in the job's runtime_env, which Ray shows in its dashboard and its logs. "
            f"Set it on the nodes,\nas cluster.yaml does, and revoke the exposed value. {_OVERRIDE}"
        )


def _is_public(dashboard: str) -> bool:
    """Return whether the dashboard listens to other hosts. If it does not, Ray reports a loopback address."""
    host = dashboard.rpartition(":")[0].strip("[]")
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _answers_without_token(dashboard: str) -> bool:
    """Return whether the jobs API answers a request without a token; False if it cannot be reached from here."""
    # http.client uses no proxy and follows no redirect, so the answer is Ray's own.
    with closing(HTTPConnection(dashboard, timeout=_TIMEOUT_S)) as connection, suppress(OSError, HTTPException):
        connection.request("GET", "/api/jobs/")
        return connection.getresponse().status == 200
    return False
