"""The choice of attention kernels, and the reason if the requested ones cannot be used."""

from typing import Any

import torch

from engine.models.devices import Device

_BACKENDS = {"xformers": "xformers", "flash": "_native_flash"}


def set_attention(pipe: Any, requested: str, device: Device, masked: bool) -> str:
    """Select attention kernels; return the name of those that are used, with the reason if others were requested.

    masked: whether captions of different lengths share a forward pass. Flash kernels cannot mask the shorter ones.
    """
    if requested in ("auto", "sdpa"):
        return "sdpa"
    if reason := _why_unavailable(requested, device, masked):
        return f"sdpa ({reason})"
    transformer = getattr(pipe, "transformer", None)
    try:
        if transformer is not None and _has_backends(transformer):
            transformer.set_attention_backend(_BACKENDS[requested])
        elif requested == "xformers":
            pipe.enable_xformers_memory_efficient_attention()
        else:
            return "sdpa (which uses flash kernels by itself where this model's shapes allow them)"
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        return f"sdpa ({requested} cannot be used: {reason[:120]})"
    return requested


def _why_unavailable(requested: str, device: Device, masked: bool) -> str:
    if device.name == "cpu":
        return f"{requested} needs a GPU"
    if requested == "flash" and device.dtype == torch.float32:
        return "flash needs bf16 or fp16"
    if requested == "flash" and masked:
        return "flash cannot mask the shorter of prompt and negative prompt; with guidance 0 it can be used"
    return ""


def _has_backends(transformer: Any) -> bool:
    """Return whether the attention can be switched. diffusers raises no error for a backend that no layer reads."""
    processors = (getattr(module, "processor", None) for module in transformer.modules())
    return any(hasattr(processor, "_attention_backend") for processor in processors)
