"""What is trained: a batch from its number, and the loss of the family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.training.finetune.finetune_samples import CachedImage, Crop, drawn, view
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.finetune.prior_images import request
from engine.training.random_streams import numpy_rng, torch_rng


@dataclass(frozen=True)
class FinetuneBatch:
    """views: the real ones, then as many of the prior or none. number: of the forward pass, which all its noise follows
    from."""

    views: tuple[Crop, ...]
    real: int
    number: int


def make_batch(
    real: Sequence[CachedImage], prior: Sequence[CachedImage], spec: FinetuneSpec, number: int
) -> FinetuneBatch:
    """The batch of one forward pass."""
    rng = numpy_rng(spec.seed, "view", number)
    shots = drawn(real, spec.batch, number, spec.seed, "real")
    if prior:
        shots += drawn(prior, spec.batch, number, spec.seed, "prior")
    return FinetuneBatch(tuple(view(one, spec, rng) for one in shots), spec.batch, number)


class Objective:
    """The squared error of what the UNet predicts: the noise, or v (Salimans and Ho, 2022).

    To be made before the UNet has its adapter, whose fp32 would hide what the model computes in.
    """

    def __init__(self, pipe: DiffusersPipeline, spec: FinetuneSpec, prompts: Iterable[str]) -> None:
        self._spec, self._vae = spec, pipe.diffusers.vae
        self._device, self._dtype = pipe.diffusers.unet.device, pipe.diffusers.unet.dtype
        self._noise = DDPMScheduler.from_config(pipe.diffusers.scheduler.config)
        self._texts = {text: _encoded(pipe, text) for text in dict.fromkeys(prompts)}

    def __call__(self, unet: Any, batch: FinetuneBatch) -> Tensor:
        """The loss: mean over the real images, plus the weighted mean over those of the prior."""
        spec, rng = self._spec, torch_rng(self._spec.seed, "noise", batch.number)
        clean = self._latents(batch, rng)
        noise = torch.randn(clean.shape, generator=rng).to(self._device)
        steps = self._noise.config.num_train_timesteps
        times = torch.randint(steps, (len(clean),), generator=rng).to(self._device)
        noisy = self._noise.add_noise(clean, noise, times)
        predicts_noise = self._noise.config.prediction_type == "epsilon"
        target = noise if predicts_noise else self._noise.get_velocity(clean, noise, times)
        found = unet(noisy.to(self._dtype), times, **self._conditions(batch.views), return_dict=False)[0]
        error = (found.float() - target).square().mean(dim=(1, 2, 3)) * self._weights(times, predicts_noise)
        loss: Tensor = error[: batch.real].mean()
        if spec.prior is not None:
            loss = loss + spec.prior.weight * error[batch.real :].mean()
        return loss

    @torch.no_grad()
    def _latents(self, batch: FinetuneBatch, rng: torch.Generator) -> Tensor:
        frames = torch.from_numpy(np.stack([one.pixels for one in batch.views])).permute(0, 3, 1, 2)
        found = self._vae.encode(frames.to(self._device, self._dtype) / 127.5 - 1).latent_dist
        mean, spread = found.mean.float(), found.std.float()
        noise = torch.randn(mean.shape, generator=rng).to(self._device)
        latents: Tensor = (mean + spread * noise) * self._vae.config.scaling_factor
        return latents

    def _conditions(self, views: Sequence[Crop]) -> dict[str, Any]:
        rows = [self._texts[one.prompt] for one in views]
        found: dict[str, Any] = {"encoder_hidden_states": torch.stack([row["prompt_embeds"] for row in rows])}
        if "pooled_prompt_embeds" in rows[0]:  # SDXL
            ids = torch.tensor([one.ids for one in views], device=self._device, dtype=self._dtype)
            pooled = torch.stack([row["pooled_prompt_embeds"] for row in rows])
            found["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
        frames = [one.control for one in views if one.control is not None]
        if frames:
            control = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
            found["controlnet_cond"] = control.to(self._device, self._dtype) / 255
        return found

    def _weights(self, times: Tensor, predicts_noise: bool) -> Tensor:
        """min-SNR-gamma (Hang et al., 2023), else 1."""
        if self._spec.snr_gamma is None:
            return torch.ones(len(times), device=self._device)
        alphas = self._noise.alphas_cumprod.to(self._device)[times]
        snr = (alphas / (1 - alphas)).clamp(min=1e-8)
        weights: Tensor = snr.clamp(max=self._spec.snr_gamma) / (snr if predicts_noise else snr + 1)
        return weights


def _encoded(pipe: DiffusersPipeline, text: str) -> dict[str, Tensor]:
    """The conditions of one text; cloned, for a tensor of inference mode takes part in no gradient."""
    found = pipe.prompts([request(text)])
    return {name: value[0].clone() for name, value in found.items() if not name.startswith("negative_")}
