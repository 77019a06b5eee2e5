"""Convolutions whose weights lie as a CPU computes with them."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.generators.optimizations.packed_weights import pack_convolutions, can_pack
from engine.models.devices import Device


def may_pack(dtype: torch.dtype, device: str = "cpu") -> bool:
    return can_pack(Device(device, dtype, ""))


pytestmark = pytest.mark.skipif(not may_pack(torch.float32), reason="only CPUs with AVX2 have weights packed")


def packed(layer: nn.Module) -> nn.Module:
    network = nn.Sequential(copy.deepcopy(layer))
    pack_convolutions(SimpleNamespace(unet=network))
    return network[0]


@settings(deadline=None)
@given(st.data())
def test_a_packed_convolution_computes_the_same(data: st.DataObject) -> None:
    def one(*values: int) -> int:
        return data.draw(st.sampled_from(values))

    bf16 = may_pack(torch.bfloat16) and data.draw(st.booleans())
    dtype, groups = torch.bfloat16 if bf16 else torch.float32, one(1, 1, 2, 8)
    shape = (groups * one(1, 3, 16), groups * one(1, 4, 8), one(1, 3, 5), one(1, 2), one(0, 1), one(1, 2), groups)
    torch.manual_seed(one(1, 2, 3))
    layer = nn.Conv2d(*shape, bias=data.draw(st.booleans())).to(dtype, memory_format=torch.channels_last)
    images = torch.randn(one(1, 2, 17), shape[0], one(9, 16), one(9, 33)).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, found = layer(images), packed(layer)(images)
    assert found.dtype == dtype
    assert torch.equal(found, expected) if bf16 else torch.allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_what_is_no_plain_convolution_is_left_as_it_is() -> None:
    for layer in (nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding_mode="reflect"), nn.Linear(2, 2)):
        assert not packed(layer).weight.is_mkldnn
    assert packed(nn.Conv2d(2, 2, 3)).weight.is_mkldnn
    adapted = packed(nn.ModuleDict({"base_layer": nn.Conv2d(2, 2, 3), "lora_A": nn.Conv2d(2, 1, 3)}))
    assert not adapted["base_layer"].weight.is_mkldnn, "peft may compute with its weights"
    assert adapted["lora_A"].weight.is_mkldnn


def test_a_gpu_and_half_precision_have_no_such_layout() -> None:
    assert not may_pack(torch.float16)
    assert not may_pack(torch.float32, "cuda")
