"""From a folder in the diffusers format to a pipeline that is ready on its device."""

from inspect import signature
from typing import Any

import diffusers
import torch

from engine.errors import ModelError
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.vae import upcast_vae
from engine.models.devices import Device
from engine.models.resolve import LocalModel


def load_component(loader: str, found: LocalModel, device: Device, model: DiffusersSettings, **parts: Any) -> Any:
    """What `from_pretrained` of this class of diffusers makes of the folder. Raises ModelError."""
    try:
        return getattr(diffusers, loader).from_pretrained(
            str(found.folder),
            dtype=device.dtype,
            variant=found.variant,
            use_safetensors=True,
            trust_remote_code=False,
            **parts,
        )
    except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(
            f"{found.part.place}: {found.part.source!r} cannot be loaded for kind {model.kind!r}: {reason}; "
            "give a model of that kind in the diffusers format"
        ) from error


def prepare_pipeline(pipe: Any, model: DiffusersSettings, device: Device) -> None:
    """Give a pipeline the spec's scheduler and put it on the device. Raises ModelError."""
    pipe.set_progress_bar_config(disable=True)
    if model.scheduler is not None:
        pipe.scheduler = _scheduler(pipe, model.scheduler)
    if getattr(pipe, "watermark", None) is not None:
        pipe.watermark = None  # that it is synthetic is said by the sample, and no pixel is changed for it
    # All that changes weights comes before offloading, which takes them away.
    if device.dtype == torch.float16 and hasattr(pipe, "upcast_vae") and pipe.vae.config.get("force_upcast"):
        upcast_vae(pipe.vae, device)
    if model.fast.channels_last:
        for name in ("unet", "vae", "controlnet"):
            part = getattr(pipe, name, None)
            if part is not None:
                part.to(memory_format=torch.channels_last)
    if device.name == "cpu" or model.offload == "none":
        pipe.to(device.name)
    elif model.offload == "model":
        pipe.enable_model_cpu_offload(device=device.name)
    else:
        pipe.enable_sequential_cpu_offload(device=device.name)


def generated_shape(pipe: Any, model: DiffusersSettings) -> tuple[int, int]:
    """Height and width of what is generated: the spec's, else the model's own. Raises ModelError."""
    side = getattr(pipe, "default_sample_size", None)
    if side is None:
        part = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        side = part.config.get("sample_size") if part is not None else None
    vae = getattr(pipe, "vae", None)
    scale = getattr(pipe, "vae_scale_factor", None) or (2 ** (len(vae.config.block_out_channels) - 1) if vae else 1)
    high, wide = side if isinstance(side, (list, tuple)) else (side, side)
    native = (1024, 1024) if high is None else (int(high) * scale, int(wide) * scale)
    height, width = model.height or native[0], model.width or native[1]
    processor = getattr(pipe, "image_processor", None)
    step = processor.config.vae_scale_factor if processor is not None else scale
    for place, value in (("height", height), ("width", width)):
        if value % step:
            raise ModelError(f"model.{place}: {value} is no multiple of {step}, as {type(pipe).__name__} needs it")
    return height, width


def _scheduler(pipe: Any, name: str) -> Any:
    """The scheduler of this name with the settings of the model's own."""
    old, kind = pipe.scheduler, getattr(diffusers, name, None)
    if kind is None:
        raise ModelError(f"model.scheduler: diffusers {diffusers.__version__} has no {name}")
    try:
        new = kind.from_config(old.config)
    except (ImportError, NotImplementedError, TypeError, ValueError) as error:
        raise ModelError(
            f"model.scheduler: {name} cannot be used here: {str(error).strip().splitlines()[0]}"
        ) from error
    if _flows(old) != _flows(new) or (_flows(old) and not _steps(old) <= _steps(new)):
        raise ModelError(
            f"model.scheduler: {name} cannot take the place of this model's {type(old).__name__}, which denoises in "
            "another way; choose one of its kind, or none"
        )
    return new


def _flows(scheduler: Any) -> bool:
    """Whether it is one of flow matching. Such a model and a diffusion scheduler make noise, without any error."""
    return type(scheduler).__name__.startswith("FlowMatch")


def _steps(scheduler: Any) -> set[str]:
    return set(signature(scheduler.set_timesteps).parameters)
