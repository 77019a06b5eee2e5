"""jobs/kuberay.yaml: the fields of the RayJob CRD, the rules of its admission, and our own commands."""

import copy
import re
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs.__main__ import parser

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "jobs/kuberay.yaml").read_text()


def fields(required: str = "", /, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others. required: names of required fields."""
    return {
        "type": "object", "properties": properties, "required": required.split(), "additionalProperties": False
    }  # fmt: skip


def enum(*values: Any) -> dict[str, Any]:
    return {"enum": list(values)}


def each(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def values(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": items}


TEXT_, NUMBER, SWITCH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
QUANTITY = {"type": ["string", "integer"], "pattern": r"^\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?$"}
EXECUTED = fields(exec=fields("command", command=each(TEXT_)))
KEY = fields("name key", name=TEXT_, key=TEXT_, optional=SWITCH)
CONTAINER = fields(
    "name",
    name=TEXT_,
    image=TEXT_,
    imagePullPolicy=enum("Always", "IfNotPresent", "Never"),
    resources=fields(limits=values(QUANTITY), requests=values(QUANTITY)),
    env=each(fields("name", name=TEXT_, value=TEXT_, valueFrom=fields(secretKeyRef=KEY))),
    volumeMounts=each(fields("name mountPath", name=TEXT_, mountPath=TEXT_, readOnly=SWITCH)),
    lifecycle=fields(postStart=EXECUTED, preStop=EXECUTED),
)
POD = fields(
    "containers",
    serviceAccountName=TEXT_,
    terminationGracePeriodSeconds=NUMBER,
    nodeSelector=values(TEXT_),
    restartPolicy=enum("Never"),  # all that the autoscaler's second version allows
    tolerations=each(
        fields(
            key=TEXT_,
            operator=enum("Exists", "Equal"),
            value=TEXT_,
            effect=enum("NoSchedule", "PreferNoSchedule", "NoExecute"),
        )
    ),
    containers=each(CONTAINER),
    volumes=each(fields("name", name=TEXT_, emptyDir=fields(medium=TEXT_, sizeLimit=QUANTITY))),
)
TEMPLATE = fields(metadata=fields(labels=values(TEXT_), annotations=values(TEXT_)), spec=POD)
WORKERS = fields(
    "groupName minReplicas maxReplicas template",
    groupName=TEXT_,
    replicas=NUMBER,
    minReplicas=NUMBER,
    maxReplicas=NUMBER,
    idleTimeoutSeconds=NUMBER,
    rayStartParams=values(TEXT_),
    template=TEMPLATE,
)
CLUSTER = fields(
    "headGroupSpec",
    rayVersion=TEXT_,
    authOptions=fields(mode=enum("disabled", "token")),
    enableInTreeAutoscaling=SWITCH,
    autoscalerOptions=fields(
        version=enum("v1", "v2"),
        idleTimeoutSeconds=NUMBER,
        upscalingMode=enum("Default", "Aggressive", "Conservative"),
    ),
    headGroupSpec=fields("template", rayStartParams=values(TEXT_), template=TEMPLATE),
    workerGroupSpecs=each(WORKERS),
)
RAY_JOB = fields(
    "apiVersion kind metadata spec",
    apiVersion=enum("ray.io/v1"),
    kind=enum("RayJob"),
    metadata=fields(name=TEXT_, generateName=TEXT_, namespace=TEXT_, labels=values(TEXT_)),
    spec=fields(
        entrypoint=TEXT_,
        backoffLimit=NUMBER,
        activeDeadlineSeconds=NUMBER,
        shutdownAfterJobFinishes=SWITCH,
        ttlSecondsAfterFinished=NUMBER,
        submissionMode=enum("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"),
        rayClusterSpec=CLUSTER,
    ),
)
"""The part of KubeRay's CRD (ray-operator/config/crd/bases/ray.io_rayjobs.yaml, v1.5.1) that our manifest may use. The
API server refuses or drops fields that the CRD does not name."""


@pytest.fixture
def objects() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(TEXT)}


@pytest.fixture
def job(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return objects["RayJob"]


@pytest.fixture
def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pods of the head and of the workers."""
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_every_field_is_in_the_crd(job: dict[str, Any]) -> None:
    jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("spec.shutdownAfterJobFinish", True),
        ("spec.rayClusterSpec.autoscalerOptions.version", "2"),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources.limits.memory", "14 GB"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.tolerations.0.effect", "NoSchedul"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.restartPolicy", "Always"),
    ],
)
def test_a_wrong_field_is_an_error(job: dict[str, Any], place: str, value: Any) -> None:
    changed = copy.deepcopy(job)
    *path, name = place.split(".")
    inner: Any = changed
    for step in path:
        inner = inner[int(step) if step.isdigit() else step]
    inner[name] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, RAY_JOB)


def test_the_cluster_ends_with_the_job(job: dict[str, Any]) -> None:
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec["shutdownAfterJobFinishes"]
    assert spec["backoffLimit"] > 0, "a head that is lost comes back"
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for workers in cluster["workerGroupSpecs"]:
        assert workers["replicas"] == workers["minReplicas"] == 0 < workers["maxReplicas"]


def test_only_workers_have_a_gpu_and_may_be_spot(pods: list[dict[str, Any]]) -> None:
    head, *workers = pods
    assert "tolerations" not in head
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    for worker in workers:
        assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= {
            toleration["key"] for toleration in worker["tolerations"]
        }
        resources = worker["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"], "Kubernetes requires it for GPUs"
        assert resources["limits"]["nvidia.com/gpu"] == "1"


def test_all_references_of_pods_exist(objects: dict[str, dict[str, Any]], pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            used = [variable["valueFrom"]["secretKeyRef"] for variable in container["env"] if "valueFrom" in variable]
            documented = re.findall(r"kubectl create secret generic (\S+) --from-literal=(\w+)=", TEXT)
            assert [(secret["name"], secret["key"]) for secret in used] == documented
            values = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
            assert values["HF_HOME"] in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_versions_are_the_installed_ones(job: dict[str, Any], pods: list[dict[str, Any]]) -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]
    assert f"FROM rayproject/ray:{pinned[1]}-py311" in TEXT
    assert {container["image"].rpartition(":")[2] for pod in pods for container in pod["containers"]} == {
        version("shardmill")
    }


def test_our_own_commands_parse(job: dict[str, Any], pods: list[dict[str, Any]]) -> None:
    _, worker = pods
    shell, flag, watch_command = worker["containers"][0]["lifecycle"]["postStart"]["exec"]["command"]
    subprocess.run([shell, "-n", flag, watch_command], check=True)
    lines = [job["spec"]["entrypoint"], watch_command.partition(">")[0]]
    parsed = [parser().parse_args(shlex.split(line.removeprefix("python -m jobs "))) for line in lines]
    assert [arguments.run.__name__ for arguments in parsed] == ["generate", "watch"]
