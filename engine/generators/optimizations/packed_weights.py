"""Weights of convolutions in the layout that a CPU computes with."""

from typing import Any

import torch
from torch import Tensor, nn

from engine.models.devices import Device

_ADAPTED = "base_layer"
"""What peft calls a layer that it has put an adapter around."""


def can_pack(device: Device) -> bool:
    """Whether torch computes convolutions by oneDNN there, in that dtype, and it has a layout of its own."""
    if device.name != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    return torch.backends.mkldnn.is_available() and (
        device.dtype == torch.float32
        or (device.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def pack_convolutions(pipe: Any) -> None:
    """Bring the weights of its 2D convolutions into oneDNN's own layout, which torch otherwise does in each call of a
    layer: at every step of every batch.

    In bf16 the same bytes come out; in fp32 torch would compute some small layers without oneDNN, in another order.
    Those that an adapter changes are left as they are: some kinds of adapters compute with the weights.
    """
    for part in ("unet", "controlnet", "vae"):
        network = getattr(pipe, part, None)
        for name, layer in network.named_modules() if network is not None else ():
            if type(layer) is nn.Conv2d and _is_plain(layer) and not name.endswith(_ADAPTED):
                with torch.no_grad():
                    shape = (layer.padding, layer.stride, layer.dilation, layer.groups)
                    packed = torch.ops.mkldnn._reorder_convolution_weight(layer.weight, *shape, None)
                layer.weight = nn.Parameter(packed, requires_grad=False)  # in the place of the other: memory holds one
                layer.__class__ = _Packed


def _is_plain(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and isinstance(layer.padding, tuple)


class _Packed(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # What torch.compile makes of a convolution whose weights are frozen.
        shape = (self.padding, self.stride, self.dilation, self.groups)
        return torch.ops.mkldnn._convolution_pointwise(input, weight, bias, *shape, "none", [], "")  # type: ignore[no-any-return]
