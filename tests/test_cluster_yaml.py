"""cluster.yaml: Ray's own checks, what those miss, and Ray starting the nodes in an AWS account of moto."""

import copy
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.__main__ import parser

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()
HEAD, WORKER = "head", "gpu_spot"
COMMANDS = ("initialization_commands", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Return an account that holds only the roles of jobs/aws-roles.yaml."""
    import boto3
    from moto import mock_aws

    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # where Ray puts the key pair that it makes
        boto3.client("cloudformation", "us-west-2").create_stack(
            StackName="shardmill",
            TemplateBody=(ROOT / "jobs/aws-roles.yaml").read_text(),
            Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "pictures"}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        yield


@pytest.fixture(scope="module")
def launched(aws: None) -> dict[str, Any]:
    """The file as `ray up` completes it after its checks. `provider` is the object that starts the nodes."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(yaml.safe_load(TEXT))
    validate_config(whole)
    whole = bootstrap_aws(AWSNodeProvider.fillout_available_node_types_resources(whole))
    return whole | {"provider": AWSNodeProvider(whole["provider"], whole["cluster_name"])}


def start(launched: dict[str, Any], kind: str, node_config: dict[str, Any] | None = None) -> Any:
    """The EC2 instance that Ray starts for a type of node."""
    node_config = node_config or launched["available_node_types"][kind]["node_config"]
    (instance,) = launched["provider"].create_node(node_config, {"ray-node-kind": kind}, 1).values()
    instance.reload()
    return instance


def test_ray_starts_a_spot_worker_with_a_gpu_and_a_role(launched: dict[str, Any]) -> None:
    worker = start(launched, WORKER)
    assert worker.instance_lifecycle == "spot"
    assert worker.iam_instance_profile["Arn"].endswith("/shardmill-worker")
    resources = launched["available_node_types"][WORKER]["resources"]
    assert (resources["CPU"], resources["GPU"], resources["accelerator_type:L4"]) == (4, 1, 1)


def test_ray_starts_a_head_that_is_not_spot_and_runs_no_actor(launched: dict[str, Any]) -> None:
    assert launched["head_node_type"] == HEAD
    head = start(launched, HEAD)
    assert head.instance_lifecycle is None
    assert head.iam_instance_profile["Arn"].endswith("/shardmill-head")
    assert launched["available_node_types"][HEAD]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("place", ["InstanceMarketOptions.Markettype", "BlockDeviceMappings.0.Ebs.Size", "InstanceTyp"])
def test_a_wrong_name_in_a_node_config_is_an_error(launched: dict[str, Any], place: str) -> None:
    from botocore.exceptions import ParamValidationError

    *path, name = place.split(".")
    whole = copy.deepcopy(launched["available_node_types"][WORKER]["node_config"])
    section = whole
    for step in path:
        section = section[int(step) if step.isdigit() else step]
    section[name] = "any"
    with pytest.raises(ParamValidationError, match=name):
        start(launched, WORKER, whole)


def test_the_number_of_workers_is_between_0_and_the_maximum(config: dict[str, Any]) -> None:
    kinds = config["available_node_types"]
    kinds.pop(HEAD)
    for worker in kinds.values():
        assert 0 == worker["min_workers"] < worker["max_workers"] <= config["max_workers"]
    assert 0 < config["idle_timeout_minutes"] <= 10


def test_nodes_require_imdsv2_for_credentials(config: dict[str, Any]) -> None:
    for kind in config["available_node_types"].values():
        assert kind["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_the_cluster_requires_its_token(config: dict[str, Any]) -> None:
    (line,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in line
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token" in line and ".bashrc" in line for line in config["initialization_commands"])


@pytest.mark.parametrize("group", COMMANDS)
def test_the_commands_are_shell(config: dict[str, Any], group: str) -> None:
    for line in config[group]:  # in the parentheses that Ray puts around each
        subprocess.run(["bash", "-n", "-c", f"source ~/.bashrc; ({line})"], check=True)


def test_our_own_commands_parse(config: dict[str, Any]) -> None:
    text = re.sub(r"\\\n#", "", TEXT)
    ours = [re.split(r"[|>&;]", line)[0] for line in re.findall(r"python -m jobs (.*)", text)]
    assert [parser().parse_args(shlex.split(line)).run.__name__ for line in ours] == ["generate", "watch"]
    assert "python -m jobs watch" in config["worker_start_ray_commands"][-1]


def test_only_the_watcher_of_an_earlier_start_is_killed(config: dict[str, Any]) -> None:
    (line,) = [line for line in config["worker_start_ray_commands"] if "pkill" in line]
    _, flag, pattern, *_ = shlex.split(line)
    assert flag == "-f"
    assert re.search(pattern, config["worker_start_ray_commands"][-1])
    assert not re.search(pattern, line), "the shell that runs the line has it among its arguments"


def statements_by_action(role: str) -> dict[str, list[dict[str, Any]]]:
    """Return the statements of the policies of a role."""
    import boto3

    iam = boto3.client("iam")
    statements: dict[str, list[dict[str, Any]]] = {}
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = attached["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        for statement in document["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                statements.setdefault(action, []).append(statement)
    return statements


def test_the_roles_allow_what_is_needed_and_no_more(aws: None) -> None:
    worker, head = statements_by_action("shardmill-worker"), statements_by_action("shardmill-head")
    assert {statement["Resource"] for statements in worker.values() for statement in statements} == {
        "arn:aws:s3:::pictures",
        "arn:aws:s3:::pictures/*",
    }
    assert worker.items() <= head.items()
    assert [statement["Resource"].rpartition("/")[2] for statement in head["iam:PassRole"]] == ["shardmill-worker"]
    (terminate,) = head["ec2:TerminateInstances"]
    assert terminate["Condition"] == {"Null": {"ec2:ResourceTag/ray-cluster-name": "false"}}
    assert not any(action in ("*", "ec2:*", "iam:*", "s3:*") for action in head)
