"""Text-to-image diffusion: whatever `DiffusionPipeline.from_pretrained` loads and takes prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.utils import logging as transformers_logging

from engine.devices import pick_device
from engine.errors import ModelError
from engine.generators.base import ModelFacts, Request
from engine.models import resolve_model
from engine.spec import ClusterSpec, ImageSpec, ModelSpec
from shards.codec import Pixels

_CACHED_PROMPTS = 4096

diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


class DiffusionGenerator:
    """A diffusers pipeline that makes batches of one fixed shape."""

    def __init__(self, model: ModelSpec, image: ImageSpec, cluster: ClusterSpec) -> None:
        device = pick_device(model, cluster)
        self._pipe = _load(model, device.name, device.dtype)
        self._model, self._size = model, image.size
        self._device = torch.device(device.name)
        self._guided = model.guidance > 1
        self._embedded: dict[str, Tensor] = {}
        self.batch_size, self.device = model.batch_size, device.text
        self.facts = _facts(model, self._pipe)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> Pixels:
        """Denoise and decode one batch; conversion to uint8 and resizing happen on the device."""
        made = self._pipe(
            **self._conditions(requests),
            # On the CPU and one per sample: the noise then depends on neither the device nor the batch.
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            num_inference_steps=self._model.steps,
            guidance_scale=self._model.guidance,
            width=self._model.width,
            height=self._model.height,
            output_type="pt",
        ).images
        if self._size is not None and made.shape[-2:] != (self._size, self._size):
            made = interpolate(made.float(), (self._size, self._size), mode="bicubic", antialias=True)
        # A decoder that overflowed gives NaN; as 0 it is a blank image, which the filter rejects and counts.
        frames = made.float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
        pixels: Pixels = frames.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return pixels

    def _conditions(self, requests: Sequence[Request]) -> dict[str, Any]:
        """The text conditions of a batch: encoded once per distinct text."""
        found = {"prompt_embeds": self._embed([request.prompt.text for request in requests])}
        if self._guided:
            found["negative_prompt_embeds"] = self._embed([request.prompt.negative for request in requests])
        return found

    def _embed(self, texts: Sequence[str]) -> Tensor:
        new = sorted({text for text in texts if text not in self._embedded})
        if len(self._embedded) + len(new) > _CACHED_PROMPTS:
            self._embedded.clear()
            new = sorted(set(texts))
        for start in range(0, len(new), self.batch_size):
            group = new[start : start + self.batch_size]
            # Padded to the fixed shape, as images are, so that a text's embedding does not depend on its company.
            padded = group + [""] * (self.batch_size - len(group))
            encoded = self._pipe.encode_prompt(padded, self._device, 1, do_classifier_free_guidance=False)[0]
            self._embedded.update(zip(group, encoded, strict=False))
        return torch.stack([self._embedded[text] for text in texts])


def _load(model: ModelSpec, device: str, dtype: torch.dtype) -> Any:
    place = resolve_model(model)
    try:
        pipe = DiffusionPipeline.from_pretrained(
            place, revision=model.revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"model.source {model.source!r} cannot be loaded: {reason} Give a folder, or fetch the model where this "
            "node finds it (HF_HOME), in safetensors form"
        ) from error
    if not hasattr(pipe, "encode_prompt"):
        raise ModelError(f"model.source {model.source!r} is a {type(pipe).__name__}, which takes no prompts")
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    for name in ("unet", "vae"):
        part = getattr(pipe, name, None)
        if part is not None:
            part.to(memory_format=torch.channels_last)
    return pipe


def _facts(model: ModelSpec, pipe: Any) -> ModelFacts:
    """From the pipeline and, for a generator of our own training, from the `training.json` beside it."""
    place = Path(resolve_model(model)) / "training.json"
    training = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    return ModelFacts(
        model=model.source,
        revision=str(training.get("revision") or model.revision or ""),
        license=str(training.get("license", "unknown")),
        pipeline=type(pipe).__name__,
        scheduler=type(pipe.scheduler).__name__,
        generation=int(training.get("generation", 1)),
    )
