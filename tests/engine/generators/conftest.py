"""Folders of small random models, each made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recipes import models

MAKERS = {
    "StableDiffusionPipeline": models.make_sd,
    "StableDiffusionXLPipeline": models.make_sdxl,
    "StableDiffusion3Pipeline": models.make_sd3,
    "FluxPipeline": models.make_flux,
    "ZImagePipeline": models.make_z_image,
}

Folders = Callable[[str], Path]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return the folder of a model by the name of its pipeline's class."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else MAKERS[name](root / name)

    return folder


@pytest.fixture(scope="session")
def sd(folders: Folders) -> Path:
    return folders("StableDiffusionPipeline")


@pytest.fixture(scope="session")
def z_image(folders: Folders) -> Path:
    return folders("ZImagePipeline")
