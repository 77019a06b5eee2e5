"""Convolutions with weights in oneDNN's layout."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.generators.optimizations.packed_weights import can_pack, pack_convolutions
from engine.models.devices import Device
from tests.engine.generators.tiny_generators import load, make


def may_pack(dtype: torch.dtype, device: str = "cpu") -> bool:
    return can_pack(Device(device, dtype, ""))


pytestmark = pytest.mark.skipif(not may_pack(torch.float32), reason="only CPUs with AVX2 have weights packed")


def packed(layer: nn.Module) -> nn.Module:
    network = nn.Sequential(copy.deepcopy(layer))
    pack_convolutions(SimpleNamespace(unet=network))
    return network[0]


@settings(deadline=None)
@given(st.data())
def test_packed_convolution_computes_the_same(data: st.DataObject) -> None:
    def one_of(*values: int) -> int:
        return data.draw(st.sampled_from(values))

    bf16 = may_pack(torch.bfloat16) and data.draw(st.booleans())
    dtype, groups = torch.bfloat16 if bf16 else torch.float32, one_of(1, 1, 2, 8)
    shape = (
        *(groups * one_of(1, 3, 16), groups * one_of(1, 4, 8)),
        *(one_of(1, 3, 5), one_of(1, 2), one_of(0, 1), one_of(1, 2), groups),
    )
    torch.manual_seed(one_of(1, 2, 3))
    layer = nn.Conv2d(*shape, bias=data.draw(st.booleans())).to(dtype, memory_format=torch.channels_last)
    images = torch.randn(one_of(1, 2, 17), shape[0], one_of(9, 16), one_of(9, 33))
    images = images.to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, result = layer(images), packed(layer)(images)
    assert result.dtype == dtype
    assert torch.equal(result, expected) if bf16 else torch.allclose(result, expected, rtol=1e-5, atol=2e-6)


def test_other_layers_are_left_unchanged() -> None:
    for layer in (nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding_mode="reflect"), nn.Linear(2, 2)):
        assert not packed(layer).weight.is_mkldnn
    assert packed(nn.Conv2d(2, 2, 3)).weight.is_mkldnn
    adapted = packed(nn.ModuleDict({"base_layer": nn.Conv2d(2, 2, 3), "lora_A": nn.Conv2d(2, 1, 3)}))
    assert not adapted["base_layer"].weight.is_mkldnn, (
        "peft may compute with the weights of a base layer, so they stay unpacked"
    )
    assert adapted["lora_A"].weight.is_mkldnn


def test_gpu_and_half_precision_cannot_pack() -> None:
    assert not may_pack(torch.float16)
    assert not may_pack(torch.float32, "cuda")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_packed_weights_make_the_same_images(sd: Path, dtype: str) -> None:
    default = load(sd, dtype=dtype, guidance=5.0)
    plain = load(sd, dtype=dtype, guidance=5.0, optimizations={"packed_weights": False})
    tolerance = 0 if dtype == "bf16" else 1
    assert np.abs(make(default).pixels.astype(int) - make(plain).pixels).max() <= tolerance
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    assert ("packed_weights" in default.device, "packed_weights" in plain.device) == (may_pack(dtypes[dtype]), False)


@pytest.mark.parametrize("other", [{"channels_last": False}, {"compile": "default"}])
def test_other_settings_switch_packing_off(sd: Path, other: dict[str, object]) -> None:
    generator = load(sd, optimizations=other)
    assert not generator._pipe.pipeline.unet.conv_in.weight.is_mkldnn
    assert "packed_weights" not in generator.device
