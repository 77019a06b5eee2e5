"""Linear layers in 8-bit floats, by torchao."""

from typing import Any

import torch

from engine.errors import ModelError
from engine.models.devices import Device

_MULTIPLE = 16  # of which the GPU's 8-bit instructions need the sides of matrices
_CAPABILITY = (8, 9)
_MIN_ROW_MAXIMUM = 1e-12  # by which a row is scaled at least: SDXL's empty negative prompt has rows of zeros


def quantize(pipe: Any, device: Device) -> None:
    """Convert the denoiser's linear layers to fp8: their weights once, and their inputs in each call.

    Each row has its own scale, so no image depends on another one. Raises ModelError if the device cannot compute it.
    """
    check_fp8(device)
    try:
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_
        from torchao.quantization.quantize_.common import KernelPreference
    except ImportError as error:
        raise ModelError(
            f"model.optimizations.fp8: torchao cannot be imported ({error}); "
            "install the extra: pip install 'shardmill[fp8]'"
        ) from None
    config = Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(),
        kernel_preference=KernelPreference.TORCH,  # independent of what else is installed on a node
        set_inductor_config=False,  # the spec decides about compiling
        activation_value_lb=_MIN_ROW_MAXIMUM,
    )
    for name in ("unet", "transformer"):
        network = getattr(pipe, name, None)
        if network is not None:
            quantize_(network, config, filter_fn=_can_quantize)


def check_fp8(device: Device) -> None:
    """Raise ModelError for a device without fp8 instructions, or for weights that are not in bf16."""
    if device.name != "cuda":
        raise ModelError("model.optimizations.fp8: a CPU has no fp8 instructions; say fp8: false, or use a GPU")
    capability = torch.cuda.get_device_capability()
    if capability < _CAPABILITY:
        raise ModelError(
            f"model.optimizations.fp8: {torch.cuda.get_device_name()} has compute capability "
            f"{capability[0]}.{capability[1]}, but fp8 needs 8.9 (Ada, Hopper or later); say fp8: false"
        )
    if device.dtype != torch.bfloat16:
        raise ModelError("model.optimizations.fp8 converts weights in bf16: say dtype: bf16")


def _can_quantize(module: torch.nn.Module, _: str) -> bool:
    if not isinstance(module, torch.nn.Linear) or module.in_features % _MULTIPLE or module.out_features % _MULTIPLE:
        return False
    return bool(module.weight.any(dim=1).all())  # a row of zeros has no scale
