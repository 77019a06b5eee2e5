"""What all generators that use diffusers have in common: loading, noise, text, adapters, and pixels out."""

import json
from collections.abc import Hashable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils import logging as transformers_logging

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.generators.adapters import Adapters
from engine.generators.conditioning.condition import Condition
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.optimizations.async_launch import launch_async
from engine.generators.optimizations.attention import set_attention
from engine.generators.optimizations.compiling import compile_networks
from engine.generators.optimizations.optimizations_spec import BYTE_PRESERVING, OptimizationsSpec
from engine.generators.optimizations.packed_weights import pack_convolutions, can_pack
from engine.generators.optimizations.quantization import quantize
from engine.generators.optimizations.transfer import ImageDownloader, upload
from engine.generators.pipeline_loading import generated_shape, load_component, prepare_pipeline
from engine.generators.generator import ModelFacts, PendingImages, Request
from engine.generators.stages import DeviceStages
from engine.generators.text_encoding import TextEncoder
from engine.generators.vae import check_vae, wrap_vae
from engine.models.devices import Device, pick_device
from engine.models.resolve import LocalModel, fetch_model
from shards.codec import fit_mask

diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()

Masks = NDArray[np.uint8]


class DiffusersPipeline:
    """A diffusers pipeline that makes batches of one fixed shape.

    loader: class of diffusers whose `from_pretrained` loads it.
    """

    def __init__(self, loader: str, model: DiffusersSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        device = pick_device(model, cluster)
        found = {part.place: fetch_model(part) for part in model.parts}
        self._pipe = _load(loader, model, found, device)
        self._model, self._size, self._on = model, image.size, device.name
        self.height, self.width = generated_shape(self._pipe, model)
        self._call = signature(type(self._pipe).__call__).parameters
        self._adapters = Adapters(self._pipe, model.adapters, found)
        self._stages = DeviceStages(device.name)
        self._outlet = ImageDownloader(device.name, self._stages, image.size, model.fast.overlap)
        guided = model.guidance > 0  # most families begin above 1, and leave unused what they are given
        self._texts = TextEncoder(self._pipe, torch.device(device.name), model, guided, self._stages)
        attention = set_attention(self._pipe, model.attention, device, guided and self._texts.ragged)
        fast = model.fast.on(device.name, can_pack(device))
        _hasten(self._pipe, fast, device, self._stages)
        self.device = f"{device.text}, {attention}, {fast.told()}"
        self.facts = _facts(model, found, self._pipe, self._adapters)

    @property
    def diffusers(self) -> Any:
        """The pipeline that diffusers loaded."""
        return self._pipe

    def shape(self, request: Request) -> Hashable:
        """What the requests of a batch must have in common: adapters, and the length of captions where that matters."""
        active = self._adapters.of(request.class_name)
        if not self._texts.ragged:
            self._texts.expect(request.prompt, active)
            return active
        self._adapters.use(active)
        return active, self._texts.lengths(request.prompt, active)

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request], masks: Masks | None = None, **conditions: Any) -> PendingImages:
        """Denoise and decode one batch; conversion to uint8, cutting and resizing happen on the device, and are part
        of decoding. masks: those of its images."""
        model = self._model
        given = {
            # On the CPU and one per sample: the noise then depends on neither the device nor the batch.
            "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            "num_inference_steps": model.steps,
            "guidance_scale": model.guidance,
            "height": self.height,
            "width": self.width,
            "output_type": "pt",
        }
        known = {name: value for name, value in given.items() if name in self._call}
        with self._stages.within("denoise"):
            result = self._pipe(**known, **conditions)
            made = result.images
            if isinstance(made, np.ndarray):  # DiT has no tensors to give
                made = torch.from_numpy(made).permute(0, 3, 1, 2)
            return self._outlet.deliver(made, masks, getattr(result, "nsfw_content_detected", None))

    @property
    def n_classes(self) -> int:
        """Classes that a class-conditional transformer was trained with."""
        return int(self._pipe.transformer.config.num_embeds_ada_norm)

    def prompts(self, requests: Sequence[Request]) -> dict[str, Any]:
        """The text conditions of a batch, its adapters being switched on: encoded once per distinct text."""
        active = self._adapters.of(requests[0].class_name)
        with self._stages.within("text"):
            self._adapters.use(active)
            return self._texts.conditions([request.prompt for request in requests], active)

    def controls(self, requests: Sequence[Request]) -> Tensor:
        """The images of the conditions as the pipeline takes them: float (batch, 3, height, width) in [0, 1]."""
        frames = np.stack([_condition(request).control(self.height, self.width) for request in requests])
        return upload(torch.from_numpy(frames), self._on).permute(0, 3, 1, 2).float() / 255

    def masks(self, requests: Sequence[Request]) -> Masks | None:
        """The masks of the conditions as the images are stored, cut and resized like them; None without."""
        found = [self._mask(_condition(request)) for request in requests]
        masks = [mask for mask in found if mask is not None]
        return np.stack(masks) if masks else None

    def _mask(self, condition: Condition) -> Masks | None:
        if self._size is not None and self.height == self.width:
            return condition.mask_at(self._size, self._size)
        mask = condition.mask_at(self.height, self.width)
        return mask if mask is None or self._size is None else fit_mask(mask, self._size, self._size)


def _condition(request: Request) -> Condition:
    assert request.condition is not None, "the spec was checked"
    return request.condition


def _load(loader: str, model: DiffusersSettings, found: Mapping[str, LocalModel], device: Device) -> Any:
    """The pipeline with the parts that the spec puts in the place of its own, on its device."""
    parts = {
        name: load_component("AutoModel", found[f"model.{name}"], device, model)
        for name in ("controlnet", "vae")
        if f"model.{name}" in found
    }
    if "vae" in parts:
        check_vae(parts["vae"], found["model.vae"], found["model.source"])
    pipe = load_component(loader, found["model.source"], device, model, **parts)
    prepare_pipeline(pipe, model, device)
    return pipe


def _hasten(pipe: Any, fast: OptimizationsSpec, device: Device, stages: DeviceStages) -> None:
    """The steps that change how its networks are run. Raises ModelError."""
    if getattr(pipe, "vae", None) is not None:
        wrap_vae(pipe.vae, fast.decode_batch, stages)
    if fast.overlap:
        launch_async(pipe, device.name)
    if fast.fp8:
        quantize(pipe, device)
    if fast.packed:
        pack_convolutions(pipe)
    if fast.compile != "none":
        compile_networks(pipe, fast.compile)


def _facts(model: DiffusersSettings, found: Mapping[str, LocalModel], pipe: Any, adapters: Adapters) -> ModelFacts:
    told = ("kind", "source", "revision", "batch_size", "adapters", "class_ids", "controlnet_revision", "vae_revision")
    settings = model.model_dump(
        mode="json", exclude={**dict.fromkeys(told, True), "fast": set(BYTE_PRESERVING)}, exclude_defaults=True
    )
    if not settings.get("fast"):
        settings.pop("fast", None)
    base, net, vae = found["model.source"], found.get("model.controlnet"), found.get("model.vae")
    if net is not None:
        settings["controlnet_revision"] = net.revision
    if vae is not None:
        settings |= {"vae_revision": vae.revision, "vae_license": vae.license}
    return ModelFacts(
        model=model.source,
        revision=base.revision,
        license=base.license,
        pipeline=type(pipe).__name__,
        scheduler=type(pipe.scheduler).__name__,
        settings=json.dumps({"steps": model.steps, "guidance": model.guidance, **settings}),
        adapters=adapters.facts,
        generation=max(part.generation for part in (base, net, vae) if part is not None),
    )
