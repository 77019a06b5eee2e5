"""The choices of a spec that are made while a pipeline is loaded: scheduler, size, attention, offloading."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.attention_dispatch import attention_backend

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.generators.optimizations.attention import set_attention
from engine.generators.optimizations.packed_weights import can_pack
from engine.generators.generator import Request
from engine.models.devices import Device
from engine.types import Prompt
from tests.recipes import models

REQUESTS = [Request(Prompt("a cat", "", (), "templates"), 0, "cat", seed) for seed in range(2)]
GPU = Device("cuda", torch.float16, "a GPU, fp16")


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.make_sd(tmp_path_factory.mktemp("sd") / "model")


@pytest.fixture(scope="module")
def z_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.make_z_image(tmp_path_factory.mktemp("z-image") / "model")


def load(folder: Path, **settings: Any) -> TextToImage:
    given = {"source": str(folder), "dtype": "fp32", "steps": 3, "batch_size": 2, "width": 16, "height": 16, **settings}
    return TextToImage(TextToImageSettings(**given), ImageSpec(), ClusterSpec())


def test_a_scheduler_by_name(sd: Path) -> None:
    own, other = load(sd), load(sd, scheduler="DPMSolverMultistepScheduler")
    assert (own.facts.scheduler, other.facts.scheduler) == ("DDIMScheduler", "DPMSolverMultistepScheduler")
    assert not np.array_equal(own.generate(REQUESTS).pixels, other.generate(REQUESTS).pixels)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NoSuchScheduler", r"diffusers [0-9.]+ has no NoSuchScheduler"),
        ("UnCLIPScheduler", "UnCLIPScheduler cannot be used here: .*beta_schedule"),
        ("FlowMatchEulerDiscreteScheduler", "cannot take the place of this model's DDIMScheduler"),
    ],
)
def test_a_scheduler_that_does_not_fit_a_diffusion_model(sd: Path, name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"model\.scheduler: .*{reason}"):
        load(sd, scheduler=name)


@pytest.mark.parametrize("name", ["DDIMScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_a_scheduler_that_does_not_fit_a_flow_model(z_image: Path, name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} cannot take the place of this model's FlowMatchEuler"):
        load(z_image, scheduler=name)


def test_a_size_that_the_model_cannot_make(sd: Path, z_image: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.width: 17 is no multiple of 2, as StableDiffusionPipeline"):
        load(sd, width=17)
    with pytest.raises(ModelError, match=r"model\.height: 18 is no multiple of 4, as ZImagePipeline"):
        load(z_image, height=18)


def test_without_a_size_the_models_own_is_made(sd: Path) -> None:
    assert load(sd, width=None, height=None).generate(REQUESTS).pixels.shape == (2, 16, 16, 3)


@pytest.mark.parametrize("wish", ["xformers", "flash"])
def test_the_stats_say_in_one_line_what_computes_and_why_not_as_wished(sd: Path, wish: str) -> None:
    text, packed = load(sd, attention=wish).device, "packed, " * can_pack(Device("cpu", torch.float32, ""))
    assert text.startswith("CPU (")
    assert text.endswith(f", fp32, sdpa ({wish} needs a GPU), channels_last, {packed}texts_once")


@pytest.mark.parametrize("offload", ["model", "layers"])
def test_on_a_cpu_there_is_nothing_to_offload(sd: Path, offload: str) -> None:
    found = load(sd, offload=offload).generate(REQUESTS).pixels
    assert np.array_equal(found, load(sd).generate(REQUESTS).pixels)


@pytest.fixture
def transformer(z_image: Path) -> Iterator[Any]:
    """A pipeline whose attention can be switched; diffusers keeps the last choice for the whole process."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(z_image)
    with attention_backend("native"):  # puts back what it found, at the end
        yield pipe


def test_flash_attention_of_a_transformer(transformer: Any) -> None:
    assert set_attention(transformer, "flash", GPU, masked=False) == "flash"
    layers = [module.processor for module in transformer.transformer.modules() if hasattr(module, "processor")]
    assert {layer._attention_backend.value for layer in layers} == {"_native_flash"}


@pytest.mark.parametrize(
    ("device", "masked", "reason"),
    [
        (GPU, True, "flash cannot mask the shorter of prompt and negative prompt"),
        (Device("cuda", torch.float32, "a GPU, fp32"), False, "flash needs bf16 or fp16"),
    ],
)
def test_where_flash_attention_cannot_be_used(transformer: Any, device: Device, masked: bool, reason: str) -> None:
    assert set_attention(transformer, "flash", device, masked).startswith(f"sdpa ({reason}")
    layers = [module.processor for module in transformer.transformer.modules() if hasattr(module, "processor")]
    assert {layer._attention_backend for layer in layers} == {None}


def test_kernels_that_are_not_there_are_not_claimed(sd: Path) -> None:
    pipe = diffusers.DiffusionPipeline.from_pretrained(sd)
    assert set_attention(pipe, "flash", GPU, masked=False).startswith("sdpa (which takes flash kernels by itself")
    if not torch.cuda.is_available():  # then xformers is not installed, or has no device
        assert set_attention(pipe, "xformers", GPU, masked=False).startswith("sdpa (xformers cannot be used: ")
