"""The settings that are applied while a pipeline is loaded: scheduler, size, offloading."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ModelError
from tests.engine.generators.conftest import Folders
from tests.engine.generators.tiny_generators import load, make


def test_scheduler_by_name(sd: Path) -> None:
    own, other = load(sd), load(sd, scheduler="DPMSolverMultistepScheduler")
    assert (own.facts.scheduler, other.facts.scheduler) == ("DDIMScheduler", "DPMSolverMultistepScheduler")
    assert not np.array_equal(make(own).pixels, make(other).pixels)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NoSuchScheduler", r"diffusers [0-9.]+ has no NoSuchScheduler"),
        ("UnCLIPScheduler", "UnCLIPScheduler cannot be used here: .*beta_schedule"),
        ("FlowMatchEulerDiscreteScheduler", "cannot replace this model's DDIMScheduler"),
    ],
)
def test_scheduler_that_does_not_fit_diffusion(sd: Path, name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"model\.scheduler: .*{reason}"):
        load(sd, scheduler=name)


@pytest.mark.parametrize("name", ["DDIMScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_scheduler_that_does_not_fit_flow_matching(z_image: Path, name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} cannot replace this model's FlowMatchEuler"):
        load(z_image, scheduler=name)


def test_impossible_size_is_an_error(sd: Path, z_image: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.width: 17 is not a multiple of 2, which StableDiffusionPipeline"):
        load(sd, width=17)
    with pytest.raises(ModelError, match=r"model\.height: 18 is not a multiple of 4, which ZImagePipeline"):
        load(z_image, height=18)


def test_default_size_is_the_models_own(sd: Path) -> None:
    assert make(load(sd, width=None, height=None)).pixels.shape == (4, 16, 16, 3)


@pytest.mark.parametrize("offload", ["model", "layers"])
def test_offloading_does_nothing_on_a_cpu(sd: Path, offload: str) -> None:
    assert np.array_equal(make(load(sd, offload=offload)).pixels, make(load(sd)).pixels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("family", ["StableDiffusionXLPipeline", "ZImagePipeline"])
@pytest.mark.parametrize("offload", ["model", "layers"])
def test_offloading_on_a_gpu_changes_no_image(folders: Folders, family: str, offload: str) -> None:
    results = []
    for choice in ("none", offload):
        generator = load(folders(family), "cuda", dtype="fp16", offload=choice)
        results += [make(generator).pixels for _ in range(2)]
    assert all(np.array_equal(results[0], other) for other in results[1:])
