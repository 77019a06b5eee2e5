"""Which attention kernels a pipeline uses, and why not the wished ones."""

from typing import Any

import torch

from engine.models.devices import Device

_BACKENDS = {"xformers": "xformers", "flash": "_native_flash"}


def set_attention(pipe: Any, wish: str, device: Device, masked: bool) -> str:
    """Switch the wished kernels on; gives what is used, with the reason where that is not the wish.

    masked: whether captions of different length share a forward pass, which flash kernels cannot keep apart.
    """
    if wish in ("auto", "sdpa"):
        return "sdpa"
    if reason := _hindrance(wish, device, masked):
        return f"sdpa ({reason})"
    transformer = getattr(pipe, "transformer", None)
    try:
        if transformer is not None and _has_backends(transformer):
            transformer.set_attention_backend(_BACKENDS[wish])
        elif wish == "xformers":
            pipe.enable_xformers_memory_efficient_attention()
        else:
            return "sdpa (which takes flash kernels by itself where this model's shapes allow them)"
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        return f"sdpa ({wish} cannot be used: {reason[:120]})"
    return wish


def _hindrance(wish: str, device: Device, masked: bool) -> str:
    if device.name == "cpu":
        return f"{wish} needs a GPU"
    if wish == "flash" and device.dtype == torch.float32:
        return "flash needs bf16 or fp16"
    if wish == "flash" and masked:
        return "flash cannot mask the shorter of prompt and negative prompt; with guidance 0 it can be used"
    return ""


def _has_backends(transformer: Any) -> bool:
    """Whether its attention can be switched at all: setting a backend that no layer reads is no error in diffusers."""
    processors = (getattr(module, "processor", None) for module in transformer.modules())
    return any(hasattr(processor, "_attention_backend") for processor in processors)
