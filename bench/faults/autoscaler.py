"""A cluster without worker nodes, whose autoscaler starts and ends fake nodes on this machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from unittest.mock import patch

from bench.faults.driver import TIMEOUT_S, UnexpectedOutcome
from bench.faults.fault import fault
from bench.faults.nodes import free_port
from bench.faults.scene import Scene

NODES = 2
_IDLE_MINUTES = 0.1
# Ray's FakeMultiNodeProvider expects its head to have this id.
_HEAD = "f" * 51 + "00000"
_ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD,
    "RAY_CLOUD_INSTANCE_ID": _HEAD,
}


@fault("autoscaling 0 to 2 to 0 in the middle of a run")
def scaled(scene: Scene) -> None:
    """Waiting actors make the autoscaler start two nodes; in the middle the command is stopped, and both end for being
    idle; then the same command, and two nodes once more."""
    actors = max(NODES, scene.workers)
    with autoscaler(scene, actors // NODES):
        first = scene.generate(workers=actors)
        first.wait_until(lambda: _nodes(scene) == NODES)
        scene.wait_until_busy(first, 1)
        first.press_ctrl_c()
        first.expect_exit(130)
        _wait_until_none(scene)
        second = scene.generate(workers=actors)
        second.wait_until(lambda: _nodes(scene) == NODES)
        second.expect_exit(0)
        _wait_until_none(scene)


@contextmanager
def autoscaler(scene: Scene, cpus: int) -> Iterator[None]:
    """Start a head whose autoscaler may start NODES nodes with `cpus` cores each. Commands join it by RAY_ADDRESS."""
    from ray.util import get_node_ip_address

    config, log = scene.folder / "autoscaler.json", scene.folder / "head.log"
    port = free_port()
    address = f"{get_node_ip_address()}:{port}"
    config.write_text(json.dumps(_config(cpus, address)), encoding="utf-8")
    line = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0"]
    line += [f"--port={port}", f"--ray-client-server-port={free_port()}", "--include-dashboard=false"]
    line += [f"--autoscaling-config={config}"]
    with patch.dict(os.environ, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32)}):
        with log.open("w") as file:
            head = subprocess.Popen(line, env=os.environ | _ENVIRONMENT, stdout=file, stderr=file)
        try:
            _wait_until(lambda: "Ray runtime started" in log.read_text(encoding="utf-8"), "the head does not start")
            with patch.dict(os.environ, {"RAY_ADDRESS": address}):
                yield
        finally:
            scene.kill_all()
            head.wait(10)


def _config(cpus: int, address: str) -> dict[str, object]:
    worker = {"resources": {"CPU": cpus}, "node_config": {}, "min_workers": 0, "max_workers": NODES}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "faults",
        "max_workers": NODES,
        "idle_timeout_minutes": _IDLE_MINUTES,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": _HEAD,
            "gcs_address": address,
        },
        "available_node_types": {"ray.head.default": head, "worker": worker},
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        **{f"{name}_commands": [] for name in commands},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    }


def _nodes(scene: Scene) -> int:
    """Return the number of nodes besides the head."""
    return sum(process.is_running() and process.name() == "raylet" for process in scene.processes()) - 1


def _wait_until_none(scene: Scene) -> None:
    _wait_until(lambda: _nodes(scene) == 0, "nodes are still there after the command")


def _wait_until(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise UnexpectedOutcome(f"{problem}, for {TIMEOUT_S:.0f} s")
        time.sleep(0.5)
