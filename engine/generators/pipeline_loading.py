"""Loading a pipeline from a folder in the diffusers format, and preparing it on its device."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import diffusers
import torch

from engine.errors import ModelError
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.vae import check_vae, upcast_vae
from engine.models.devices import Device
from engine.models.resolve import LocalModel


def load_pipeline(loader: str, model: DiffusersSettings, local: Mapping[str, LocalModel], device: Device) -> Any:
    """Return a pipeline on its device, with the parts that the spec replaces. local: by place. Raises ModelError."""
    replaced = [name for name in ("controlnet", "vae") if f"model.{name}" in local]
    components = {name: _load(local[f"model.{name}"], "AutoModel", device, model) for name in replaced}
    if "vae" in components:
        check_vae(components["vae"], local["model.vae"], local["model.source"])
    pipe = _load(local["model.source"], loader, device, model, **components)
    _prepare(pipe, model, device)
    return pipe


def _load(local: LocalModel, loader: str, device: Device, model: DiffusersSettings, **components: Any) -> Any:
    options = {"dtype": device.dtype, "variant": local.variant, "use_safetensors": True}
    try:
        return getattr(diffusers, loader).from_pretrained(
            str(local.folder), trust_remote_code=False, **options, **components
        )
    except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(
            f"{local.part.place}: {local.part.source!r} cannot be loaded for kind {model.kind!r}: {reason}; "
            "give a model of that kind in the diffusers format"
        ) from error


def _prepare(pipe: Any, model: DiffusersSettings, device: Device) -> None:
    """Set the spec's scheduler and put the pipeline on the device. Raises ModelError."""
    pipe.set_progress_bar_config(disable=True)
    if model.scheduler is not None:
        pipe.scheduler = _make_scheduler(pipe, model.scheduler)
    if getattr(pipe, "watermark", None) is not None:
        pipe.watermark = None  # the metadata of a sample says that it is synthetic; no pixel is changed for it
    # All changes of weights come before offloading, which removes them from the pipeline.
    if device.dtype == torch.float16 and hasattr(pipe, "upcast_vae") and pipe.vae.config.get("force_upcast"):
        upcast_vae(pipe.vae, device)
    if model.optimizations.channels_last:
        for name in ("unet", "vae", "controlnet"):
            component = getattr(pipe, name, None)
            if component is not None:
                component.to(memory_format=torch.channels_last)
    if device.name == "cpu" or model.offload == "none":
        pipe.to(device.name)
    elif model.offload == "model":
        pipe.enable_model_cpu_offload(device=device.name)
    else:
        pipe.enable_sequential_cpu_offload(device=device.name)


def generated_shape(pipe: Any, model: DiffusersSettings) -> tuple[int, int]:
    """Return height and width of the generated images: the spec's, else the model's own. Raises ModelError."""
    vae = getattr(pipe, "vae", None)
    scale = getattr(pipe, "vae_scale_factor", None) or (2 ** (len(vae.config.block_out_channels) - 1) if vae else 1)
    native_height, native_width = _native_shape(pipe, scale)
    height, width = model.height or native_height, model.width or native_width
    processor = getattr(pipe, "image_processor", None)
    step = processor.config.vae_scale_factor if processor is not None else scale
    for name, value in (("height", height), ("width", width)):
        if value % step:
            raise ModelError(f"model.{name}: {value} is not a multiple of {step}, which {type(pipe).__name__} needs")
    return height, width


def _native_shape(pipe: Any, scale: int) -> tuple[int, int]:
    """Return height and width of the images that the model was trained on. scale: pixels per side of a latent."""
    size = getattr(pipe, "default_sample_size", None)
    if size is None:
        denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        size = denoiser.config.get("sample_size") if denoiser is not None else None
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return (1024, 1024) if height is None else (int(height) * scale, int(width) * scale)


def _make_scheduler(pipe: Any, name: str) -> Any:
    """Return a scheduler of this class with the configuration of the model's own. Raises ModelError."""
    own, scheduler_class = pipe.scheduler, getattr(diffusers, name, None)
    if scheduler_class is None:
        raise ModelError(f"model.scheduler: diffusers {diffusers.__version__} has no {name}")
    try:
        scheduler = scheduler_class.from_config(own.config)
    except (ImportError, NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"model.scheduler: {name} cannot be used here: {reason}") from error
    # A flow matching model with a diffusion scheduler makes noise without any error, and so does the reverse.
    flow = _is_flow_matching(own)
    if flow != _is_flow_matching(scheduler) or (flow and not _step_arguments(own) <= _step_arguments(scheduler)):
        raise ModelError(
            f"model.scheduler: {name} cannot replace this model's {type(own).__name__}, which denoises in another way; "
            "choose a scheduler of the same kind, or none"
        )
    return scheduler


def _is_flow_matching(scheduler: Any) -> bool:
    return type(scheduler).__name__.startswith("FlowMatch")


def _step_arguments(scheduler: Any) -> set[str]:
    return set(signature(scheduler.set_timesteps).parameters)
