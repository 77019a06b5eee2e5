"""Weights of convolutions in oneDNN's own layout, for CPUs."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.models.devices import Device

_ADAPTED_LAYER = "base_layer"  # the name that peft gives to a layer that an adapter wraps


def can_pack(device: Device) -> bool:
    """Return whether torch computes convolutions of this dtype by oneDNN on this CPU, with a layout of its own."""
    if device.name != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    return torch.backends.mkldnn.is_available() and (
        device.dtype == torch.float32
        or (device.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def pack_convolutions(pipe: Any) -> None:
    """Convert the weights of 2D convolutions to oneDNN's layout, which torch otherwise does in each call of a layer.

    In bf16 the bytes are the same. In fp32 torch would compute some small layers without oneDNN, in another order.
    """
    for component in ("unet", "controlnet", "vae"):
        network = getattr(pipe, component, None)
        for name, layer in network.named_modules() if network is not None else ():
            # Layers with an adapter stay as they are: some kinds of adapters compute with the weights.
            plain = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and isinstance(layer.padding, tuple)
            if plain and not name.endswith(_ADAPTED_LAYER):
                _pack(layer)


def _pack(layer: nn.Conv2d) -> None:
    geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
    with torch.no_grad():
        packed = torch.ops.mkldnn._reorder_convolution_weight(layer.weight, *geometry, None)
    layer.weight = nn.Parameter(packed, requires_grad=False)  # replaces the old weight, so memory holds only one
    layer._conv_forward = partial(_convolve, geometry=geometry)  # type: ignore[method-assign]


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]) -> Tensor:
    # The operator that torch.compile uses for a convolution with frozen weights.
    return torch.ops.mkldnn._convolution_pointwise(images, weight, bias, *geometry, "none", [], "")  # type: ignore[no-any-return]
