"""The core of all generators that use diffusers: load, encode text, denoise, decode, download."""

import json
from collections.abc import Hashable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers.utils import logging as transformers_logging

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.data.masks import Mask
from engine.generators.adapters import Adapters
from engine.generators.conditioning.condition import Condition
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import AdapterFacts, ModelFacts, PendingImages, Request
from engine.generators.optimizations.async_launch import launch_async
from engine.generators.optimizations.attention import set_attention
from engine.generators.optimizations.compiling import compile_networks
from engine.generators.optimizations.optimizations_spec import BYTE_PRESERVING, OptimizationsSpec
from engine.generators.optimizations.packed_weights import can_pack, pack_convolutions
from engine.generators.optimizations.quantization import quantize
from engine.generators.optimizations.transfer import ImageDownloader, upload
from engine.generators.pipeline_loading import generated_shape, load_pipeline
from engine.generators.stages import DeviceStages
from engine.generators.text_encoding import TextEncoder
from engine.generators.vae import wrap_vae
from engine.models.devices import Device, pick_device
from engine.models.resolve import LocalModel, fetch_model
from shards.codec import fit_mask

diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


class DiffusersPipeline:
    """A pipeline that makes batches of one fixed shape. loader: the class of diffusers that loads it."""

    def __init__(self, loader: str, model: DiffusersSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        device = pick_device(model, cluster)
        local = {part.place: fetch_model(part) for part in model.parts}
        self.pipeline = load_pipeline(loader, model, local, device)
        self._model, self._stored_size, self._device_name = model, image.size, device.name
        self.height, self.width = generated_shape(self.pipeline, model)
        self._accepted = signature(type(self.pipeline).__call__).parameters
        self._adapters = Adapters(self.pipeline, model.adapters, local)
        self._stages = DeviceStages(device.name)
        overlap = model.optimizations.overlap_copies
        self._downloader = ImageDownloader(device.name, self._stages, image.size, overlap)
        guided = model.guidance > 0  # most families start above 1, and ignore negative prompts below
        self._text_encoder = TextEncoder(self.pipeline, torch.device(device.name), model, guided, self._stages)
        masked = guided and self._text_encoder.variable_length
        attention = set_attention(self.pipeline, model.attention, device, masked)
        optimizations = model.optimizations.effective(device.name, can_pack(device))
        _optimize(self.pipeline, optimizations, device, self._stages)
        self.device = f"{device.description}, {attention}, {optimizations.summary}"
        self.facts = _pipeline_facts(self.pipeline, model, local, self._adapters.facts)

    def batch_key(self, request: Request) -> Hashable:
        """Return the adapters of a request and, if they decide the shape of a batch, the lengths of its captions."""
        active = self._adapters.for_class(request.class_name)
        if not self._text_encoder.variable_length:
            self._text_encoder.expect(request.prompt, active)
            return active
        self._adapters.activate(active)
        return active, self._text_encoder.length_buckets(request.prompt, active)

    def encode_prompts(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Activate the adapters of a batch and return its prompts as arguments of the pipeline's call."""
        active = self._adapters.for_class(requests[0].class_name)
        with self._stages.during("text"):
            self._adapters.activate(active)
            return self._text_encoder.encode([request.prompt for request in requests], active)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], masks: Mask | None = None, **conditions: Any) -> PendingImages:
        """Denoise and decode one batch, and start to download it. masks: of its images, as they are stored.

        conditions: further arguments of the pipeline's call: what `encode_prompts` returns, control images, classes.
        """
        with self._stages.during("denoise"):
            # The pipeline denoises, and then decodes by its VAE, which begins the stage `decode` (see `wrap_vae`).
            output = self.pipeline(**self._arguments(requests), **conditions)
            images = output.images
            if isinstance(images, np.ndarray):  # DiT cannot return tensors
                images = torch.from_numpy(images).permute(0, 3, 1, 2)
            return self._downloader.start(images, masks, getattr(output, "nsfw_content_detected", None))

    def _arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the arguments of a batch that the pipeline's call accepts."""
        arguments = {
            # On the CPU and one per sample: the noise then depends on neither the device nor the batch.
            "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            "num_inference_steps": self._model.steps,
            "guidance_scale": self._model.guidance,
            "height": self.height,
            "width": self.width,
            "output_type": "pt",
        }
        return {name: value for name, value in arguments.items() if name in self._accepted}

    def control_images(self, requests: Sequence[Request]) -> Tensor:
        """Return the images of the conditions, as pipelines take them: float (batch, 3, height, width) in [0, 1]."""
        frames = np.stack([_condition(request).control(self.height, self.width) for request in requests])
        return upload(torch.from_numpy(frames), self._device_name).permute(0, 3, 1, 2).float() / 255

    def stored_masks(self, requests: Sequence[Request]) -> Mask | None:
        """Return the masks of the conditions, cut and resized as the images are stored; None if there are none."""
        masks = [mask for mask in map(self._stored_mask, requests) if mask is not None]
        return np.stack(masks) if masks else None

    def _stored_mask(self, request: Request) -> Mask | None:
        condition, size = _condition(request), self._stored_size
        if size is not None and self.height == self.width:
            return condition.mask_at(size, size)
        mask = condition.mask_at(self.height, self.width)
        return mask if mask is None or size is None else fit_mask(mask, size, size)


def _condition(request: Request) -> Condition:
    assert request.condition is not None, "the spec was checked"
    return request.condition


def _optimize(pipe: Any, optimizations: OptimizationsSpec, device: Device, stages: DeviceStages) -> None:
    if getattr(pipe, "vae", None) is not None:
        wrap_vae(pipe.vae, optimizations.decode_batch, stages)
    if optimizations.overlap_copies:
        launch_async(pipe, device.name)
    if optimizations.fp8:
        quantize(pipe, device)
    if optimizations.packed_weights:
        pack_convolutions(pipe)
    if optimizations.compile != "none":
        compile_networks(pipe, optimizations.compile)


_RECORDED_ELSEWHERE = (
    "kind", "source", "revision", "batch_size", "adapters", "class_ids", "controlnet_revision", "vae_revision",
)  # fmt: skip
"""Settings that have their own fields in the metadata or the stats."""


def _pipeline_facts(
    pipe: Any, model: DiffusersSettings, local: Mapping[str, LocalModel], adapters: tuple[AdapterFacts, ...]
) -> ModelFacts:
    settings = {"steps": model.steps, "guidance": model.guidance, **_changed_settings(model)}
    base, controlnet, vae = (local.get(f"model.{name}") for name in ("source", "controlnet", "vae"))
    assert base is not None, "every pipeline has a source"
    if controlnet is not None:
        settings["controlnet_revision"] = controlnet.revision
    if vae is not None:
        settings |= {"vae_revision": vae.revision, "vae_license": vae.license}
    return ModelFacts(
        model=model.source,
        revision=base.revision,
        license=base.license,
        pipeline=type(pipe).__name__,
        scheduler=type(pipe.scheduler).__name__,
        settings=json.dumps(settings),
        adapters=adapters,
        generation=max(part.generation for part in (base, controlnet, vae) if part is not None),
    )


def _changed_settings(model: DiffusersSettings) -> dict[str, Any]:
    """Return the settings that differ from their defaults and may change an image."""
    excluded: dict[str, Any] = {**dict.fromkeys(_RECORDED_ELSEWHERE, True), "optimizations": set(BYTE_PRESERVING)}
    settings = model.model_dump(mode="json", exclude=excluded, exclude_defaults=True)
    if not settings.get("optimizations"):
        settings.pop("optimizations", None)
    return settings
