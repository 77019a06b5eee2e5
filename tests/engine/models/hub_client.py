"""Clients of the small hub. huggingface_hub reads its settings when it is imported, so each client is a process."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import hub as hubs

PROGRAM = """
import json, sys
from engine.errors import ShardmillError
from engine.generators.kinds.controlnet import ControlNetSettings
from engine.models.resolve import check_models, fetch_model, pin_revisions

def settings(values):
    if values is None:
        return None
    return ControlNetSettings.model_validate_json(json.dumps({"kind": "controlnet", **values}))

try:
    model = pin_revisions(settings(json.loads(MODEL)), settings(json.loads(BEGUN)))
    check_models(model)
    local = [fetch_model(part) for part in model.parts] if FETCH else []
    print(json.dumps({
        "revisions": [part.revision for part in model.parts],
        "models": [[str(one.folder), one.revision, one.variant, one.license] for one in local],
    }))
except ShardmillError as error:
    print(json.dumps({"error": str(error)}))
"""


@dataclass
class HubClients:
    """Processes that pin, check and fetch a model of the hub with a local ControlNet."""

    hub: hubs.Hub
    home: Path
    controlnet: Path
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(
        self,
        source: str,
        begun: dict[str, Any] | None = None,
        *,
        fetch: bool = False,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> "subprocess.Popen[str]":
        """Start a client. begun: the settings of an earlier start of the run. fetch: download the weights as well."""
        usual = {"controlnet": str(self.controlnet)}
        model, before = {"source": source, **usual, **settings}, begun and {"source": source, **usual, **begun}
        code = f"MODEL, BEGUN, FETCH = {json.dumps(model)!r}, {json.dumps(before)!r}, {fetch}\n{PROGRAM}"
        self.processes.append(hubs.start_client(code, self.hub.url, self.home, environment or {}))
        return self.processes[-1]

    def result(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """Run a client to its end and return its revisions and models."""
        return result_of(self.start(*arguments, **settings))

    def error(self, *arguments: Any, **settings: Any) -> str:
        """Run a client to its end and return its error."""
        return str(_output(self.start(*arguments, **settings))["error"])


def result_of(client: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a client and return its revisions and models."""
    result = _output(client)
    assert "error" not in result, result
    return result


def _output(client: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    assert "Traceback" not in err
    output: dict[str, Any] = json.loads(out)
    return output
