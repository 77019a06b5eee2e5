"""Before a run is given to a cluster: whether others can run code there, and whether the job tells a secret."""

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from engine.config.credentials import is_secret
from engine.errors import SpecError

_TRUST = "where everyone who reaches that cluster may do so, --set cluster.trusted=true"
_PATIENCE_S = 5.0


def check_cluster(dashboard: str | None, variables: Mapping[str, str]) -> None:
    """Raises SpecError for a cluster that must not be trusted with a run.

    dashboard: `host:port`, as Ray's context tells it. variables: `env_vars` of the job's runtime environment.
    """
    if dashboard and _elsewhere(dashboard) and _serves_anyone(dashboard):
        raise SpecError(
            f"cluster: Ray's dashboard at {dashboard} runs code for everyone who reaches it; start Ray on every node "
            "with RAY_AUTH_MODE=token\nand a token (ray get-auth-token --generate), or its head with "
            f"--dashboard-host=127.0.0.1; {_TRUST}"
        )
    if told := sorted(name for name, value in variables.items() if is_secret(name, value)):
        raise SpecError(
            f"cluster: {told[0]} stands in the job's runtime_env, which Ray shows in its dashboard and its logs; set "
            f"it on the nodes,\nas cluster.yaml does, and have it renewed; {_TRUST}"
        )


def _elsewhere(dashboard: str) -> bool:
    """Whether the dashboard listens to other hosts too: else Ray tells a loopback address."""
    host = dashboard.rpartition(":")[0].strip("[]")
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _serves_anyone(dashboard: str) -> bool:
    """Whether the jobs API answers a request without a token. What cannot be reached from here serves nobody here."""
    # Neither through a proxy nor to another page: the answer is to be Ray's own.
    connection = HTTPConnection(dashboard, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/api/jobs/")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
