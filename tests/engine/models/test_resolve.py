"""Model parts: pinned revisions, chosen variants, and folders that are broken."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.config.model_settings import ModelPart
from engine.errors import ModelError
from engine.models.resolve import fetch_model
from tests import hub as hubs
from tests.engine.models.hub_client import HubClients


def test_truncated_weights_are_an_error(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    part = ModelPart("model.source", str(tmp_path / "model"), None, "model_index.json")
    assert len(fetch_model(part).revision) == 12
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model\.source: .*unet"):
        fetch_model(part)


def test_index_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match=r"model_index\.json is not JSON"):
        fetch_model(ModelPart("model.source", str(tmp_path), None, "model_index.json"))


def test_run_keeps_its_commit_when_a_branch_moves(hub: hubs.Hub, clients: HubClients, small: Path) -> None:
    old = hub.push("some/model", small)
    begun = clients.result("some/model", fetch=True)
    assert begun["revisions"][0] == f"main@{old}"
    assert begun["models"][0][1:] == [old, None, "mit"]
    save_file({"weight": np.ones(4, np.float32)}, small / "unet" / "diffusion_pytorch_model.safetensors")
    new = hub.push("some/model", small)
    pinned = {"revision": f"main@{old}"}
    branch_requests = hub.requests["GET", "/api/some/model/"]

    for revision in (None, "main", f"main@{old}", old):
        resumed = clients.result("some/model", pinned, revision=revision, fetch=True)
        assert resumed["models"][0][:2] == [begun["models"][0][0], old]
        assert resumed["revisions"][0] == f"main@{old}"
    assert hub.requests["GET", "/api/some/model/"] == branch_requests, "the hub was not asked for the branch again"
    assert clients.result("some/model")["revisions"][0] == f"main@{new}"
    hub.push("some/model", small, branch="v2")
    assert clients.result("some/model", pinned, revision="v2")["revisions"][0] == f"v2@{new}", (
        "the pinned commit belongs to another branch"
    )
    assert clients.result("some/model", revision=new)["revisions"][0] == new


def test_every_part_is_pinned(
    hub: hubs.Hub, clients: HubClients, small: Path, controlnet: Path, tmp_path: Path
) -> None:
    lora = tmp_path / "lora"
    shutil.copytree(controlnet, lora)
    (lora / "diffusion_pytorch_model.safetensors").rename(lora / "pytorch_lora_weights.safetensors")
    commits = [hub.push("some/model", small), hub.push("some/lora", lora), hub.push("some/net", controlnet)]
    adapters = [{"source": "some/lora"}, {"source": str(lora)}]
    result = clients.result("some/model", controlnet="some/net", adapters=adapters, fetch=True)
    model_revision, lora_revision, folder_revision, net_revision = result["revisions"]
    assert [model_revision, lora_revision, net_revision] == [f"main@{commit}" for commit in commits]
    assert folder_revision is None
    assert [revision for _, revision, *_ in result["models"] if len(revision) == 40] == commits


def test_only_the_variant_is_fetched(hub: hubs.Hub, clients: HubClients, small: Path) -> None:
    plain = small / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(plain, plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    shutil.copy(plain, small / "one_file.safetensors")
    hub.push("some/model", small)
    assert clients.result("some/model", variant="fp16", fetch=True)["models"][0][2] == "fp16"
    assert [name for name in hub.sent() if name.endswith(".safetensors")] == [
        "some/model/unet/diffusion_pytorch_model.fp16.safetensors"
    ]
