"""A small hub, its clients, and the files of small models."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import hub as hubs
from tests.engine.models.hub_client import HubClients


@pytest.fixture
def hub() -> Iterator[hubs.Hub]:
    with hubs.serve() as running:
        yield running


@pytest.fixture
def clients(hub: hubs.Hub, tmp_path: Path, controlnet: Path) -> Iterator[HubClients]:
    clients = HubClients(hub, tmp_path / "home", controlnet)
    yield clients
    for process in clients.processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def controlnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of a ControlNet that is never loaded."""
    folder = tmp_path_factory.mktemp("controlnet")
    (folder / "config.json").write_text("{}")
    save_file({"weight": np.zeros(4, np.float32)}, folder / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write the files of a pipeline that is never loaded."""
    folder = tmp_path / "small"
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "unet" / "config.json").write_text("{}")
    save_file({"weight": np.zeros(4, np.float32)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder
