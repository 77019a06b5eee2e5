"""Attention kernels: the requested kernel, or torch's own with the reason for the fallback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.models.attention_dispatch import attention_backend

from engine.generators.optimizations.attention import set_attention
from engine.generators.optimizations.packed_weights import can_pack
from engine.models.devices import Device
from tests.engine.generators.tiny_generators import load

GPU = Device("cuda", torch.float16, "a GPU, fp16")


@pytest.mark.parametrize("requested", ["xformers", "flash"])
def test_stats_name_the_kernels_and_the_reason(sd: Path, requested: str) -> None:
    description = load(sd, attention=requested).device
    packed = "packed_weights, " * can_pack(Device("cpu", torch.float32, ""))
    assert description.startswith("CPU (")
    assert description.endswith(f", fp32, sdpa ({requested} needs a GPU), channels_last, {packed}cache_text_embeddings")


@pytest.fixture
def transformer(z_image: Path) -> Iterator[Any]:
    """Return a pipeline whose attention can be switched; diffusers keeps the last choice for the whole process."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(z_image)
    with attention_backend("native"):  # restores the earlier choice at the end
        yield pipe


def test_flash_attention_of_a_transformer(transformer: Any) -> None:
    assert set_attention(transformer, "flash", GPU, masked=False) == "flash"
    assert {backend.value for backend in backends(transformer)} == {"_native_flash"}


@pytest.mark.parametrize(
    ("device", "masked", "reason"),
    [
        (GPU, True, "flash cannot mask the shorter of prompt and negative prompt"),
        (Device("cuda", torch.float32, "a GPU, fp32"), False, "flash needs bf16 or fp16"),
    ],
)
def test_flash_attention_that_cannot_be_used(transformer: Any, device: Device, masked: bool, reason: str) -> None:
    assert set_attention(transformer, "flash", device, masked).startswith(f"sdpa ({reason}")
    assert backends(transformer) == {None}


def backends(pipe: Any) -> set[Any]:
    processors = [module.processor for module in pipe.transformer.modules() if hasattr(module, "processor")]
    return {processor._attention_backend for processor in processors}


def test_missing_kernels_are_not_claimed(sd: Path) -> None:
    pipe = diffusers.DiffusionPipeline.from_pretrained(sd)
    assert set_attention(pipe, "flash", GPU, masked=False).startswith("sdpa (which uses flash kernels by itself")
    if not torch.cuda.is_available():  # xformers is not installed, or has no device
        assert set_attention(pipe, "xformers", GPU, masked=False).startswith("sdpa (xformers cannot be used: ")
