"""Linear layers in 8-bit floats, by torchao."""

from typing import Any

import torch

from engine.errors import ModelError
from engine.models.devices import Device

_MULTIPLE = 16
"""What the sizes of a matrix must be multiples of for the GPU's 8-bit instructions."""
_CAPABILITY = (8, 9)
_LEAST = 1e-12
"""What the largest number of a row is taken for at least: SDXL's empty negative prompt is rows of zeros, which would be
divided by zero."""


def quantize(pipe: Any, device: Device) -> None:
    """The denoiser's linear layers in fp8: their weights once and their inputs in each call, with a scale for each
    row, so that no image's numbers decide about another's. Raises ModelError where that cannot be computed."""
    check_fp8(device)
    try:
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_
        from torchao.quantization.quantize_.common import KernelPreference
    except ImportError as error:
        raise ModelError(
            f"model.fast.fp8: torchao cannot be imported ({error}); install the extra: pip install 'shardmill[fp8]'"
        ) from None
    # torch's own kernels, whatever else is installed on a node; and compiling stays as the spec says.
    config = Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(),
        kernel_preference=KernelPreference.TORCH,
        set_inductor_config=False,
        activation_value_lb=_LEAST,
    )
    for name in ("unet", "transformer"):
        network = getattr(pipe, name, None)
        if network is not None:
            quantize_(network, config, filter_fn=_fits)


def check_fp8(device: Device) -> None:
    """Raises ModelError for a device without the instructions, or weights that are not in bf16."""
    if device.name != "cuda":
        raise ModelError("model.fast.fp8: a CPU has no instructions for it; say fp8: false, or give the actor a GPU")
    capability = torch.cuda.get_device_capability()
    if capability < _CAPABILITY:
        raise ModelError(
            f"model.fast.fp8: {torch.cuda.get_device_name()} has compute capability {capability[0]}.{capability[1]}, "
            "and it takes 8.9 (Ada, Hopper or later); say fp8: false"
        )
    if device.dtype != torch.bfloat16:
        raise ModelError("model.fast.fp8 is made of weights in bf16: say dtype: bf16")


def _fits(module: torch.nn.Module, _: str) -> bool:
    if not isinstance(module, torch.nn.Linear) or module.in_features % _MULTIPLE or module.out_features % _MULTIPLE:
        return False
    return bool(module.weight.any(dim=1).all())  # a row of zeros has no scale
