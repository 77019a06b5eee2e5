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

from engine.conditions.base import Condition
from engine.devices import pick_device
from engine.generators.adapters import Adapters
from engine.generators.attention import set_attention
from engine.generators.base import Images, ModelFacts, Request
from engine.generators.loading import frame, load_part, prepare
from engine.generators.pixels import to_images
from engine.generators.settings import DiffusersSettings
from engine.generators.text import Texts
from engine.models import Model, fetch
from engine.spec.cluster import ClusterSpec
from engine.spec.output import ImageSpec

diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


class Pipeline:
    """A diffusers pipeline that makes batches of one fixed shape.

    loader: class of diffusers whose `from_pretrained` loads it.
    """

    def __init__(self, loader: str, model: DiffusersSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        device = pick_device(model, cluster)
        found = {part.place: fetch(part) for part in model.parts}
        parts = {}
        if "model.controlnet" in found:
            parts["controlnet"] = load_part("AutoModel", found["model.controlnet"], device, model)
        self._pipe = load_part(loader, found["model.source"], device, model, **parts)
        self._model, self._size = model, image.size
        prepare(self._pipe, model, device)
        self.height, self.width = frame(self._pipe, model)
        self._call = signature(type(self._pipe).__call__).parameters
        self._adapters = Adapters(self._pipe, model.adapters, found)
        guided = model.guidance > 0  # most families begin above 1, and leave unused what they are given
        self._texts = Texts(self._pipe, torch.device(device.name), model.fixed_batch_size(), guided)
        attention = set_attention(self._pipe, model.attention, device, guided and self._texts.ragged)
        self.device = f"{device.text}, {attention}"
        self.facts = _facts(model, found, self._pipe, self._adapters)

    @property
    def diffusers(self) -> Any:
        """The pipeline that diffusers loaded."""
        return self._pipe

    def shape(self, request: Request) -> Hashable:
        """What the requests of a batch must have in common: adapters, and the length of captions where that matters."""
        active = self._adapters.of(request.class_name)
        if not self._texts.ragged:
            return active
        self._adapters.use(active)
        return active, self._texts.lengths(request.prompt, active)

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request], **conditions: Any) -> Images:
        """Denoise and decode one batch; conversion to uint8 and resizing happen on the device."""
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
        result = self._pipe(**{name: value for name, value in given.items() if name in self._call}, **conditions)
        made = result.images
        if isinstance(made, np.ndarray):  # DiT has no tensors to give
            made = torch.from_numpy(made).permute(0, 3, 1, 2)
        return to_images(made, self._size, getattr(result, "nsfw_content_detected", None))

    @property
    def n_classes(self) -> int:
        """Classes that a class-conditional transformer was trained with."""
        return int(self._pipe.transformer.config.num_embeds_ada_norm)

    def prompts(self, requests: Sequence[Request]) -> dict[str, Any]:
        """The text conditions of a batch, its adapters being switched on: encoded once per distinct text."""
        active = self._adapters.of(requests[0].class_name)
        self._adapters.use(active)
        return self._texts.conditions([request.prompt for request in requests], active)

    def controls(self, requests: Sequence[Request]) -> Tensor:
        """The images of the conditions as the pipeline takes them: float (batch, 3, height, width) in [0, 1]."""
        frames = np.stack([_condition(request).control(self.height, self.width) for request in requests])
        return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255

    def masks(self, requests: Sequence[Request]) -> NDArray[np.uint8] | None:
        """The masks of the conditions in the size of the stored images; None where they have none."""
        height, width = (self.height, self.width) if self._size is None else (self._size, self._size)
        found = [_condition(request).mask_at(height, width) for request in requests]
        masks = [mask for mask in found if mask is not None]
        return np.stack(masks) if masks else None


def _condition(request: Request) -> Condition:
    assert request.condition is not None, "the spec was checked"
    return request.condition


def _facts(model: DiffusersSettings, found: Mapping[str, Model], pipe: Any, adapters: Adapters) -> ModelFacts:
    told = {"kind", "source", "revision", "batch_size", "adapters", "class_ids", "controlnet_revision"}
    settings = model.model_dump(mode="json", exclude=told, exclude_defaults=True)
    base, net = found["model.source"], found.get("model.controlnet")
    if net is not None:
        settings["controlnet_revision"] = net.revision
    return ModelFacts(
        model=model.source,
        revision=base.revision,
        license=base.license,
        pipeline=type(pipe).__name__,
        scheduler=type(pipe.scheduler).__name__,
        settings=json.dumps({"steps": model.steps, "guidance": model.guidance, **settings}),
        adapters=adapters.facts,
        generation=max(base.generation, 1 if net is None else net.generation),
    )
