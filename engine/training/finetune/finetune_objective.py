"""The batch of a forward pass, and the loss of Stable Diffusion and SDXL on it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.training.finetune.finetune_samples import CachedImage, Crop, crop_image, draw_images, prompt_request
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import numpy_rng, torch_rng


def make_batch(
    real: Sequence[CachedImage], prior: Sequence[CachedImage], spec: FinetuneSpec, number: int
) -> list[Crop]:
    """Return crops of real images for one forward pass, then as many of the prior, if there is one."""
    rng = numpy_rng(spec.seed, "view", number)
    images = draw_images(real, spec.batch, number, spec.seed, "real")
    if prior:
        images += draw_images(prior, spec.batch, number, spec.seed, "prior")
    return [crop_image(image, spec, rng) for image in images]


class DiffusionLoss:
    """The squared error of the UNet's prediction: the noise, or v (Salimans and Ho, 2022)."""

    def __init__(self, pipe: DiffusersPipeline, spec: FinetuneSpec, prompts: Iterable[str]) -> None:
        self._spec, self._vae = spec, pipe.pipeline.vae
        # Before the UNet has its adapter, whose fp32 would hide the precision that the model computes in.
        self._device, self._dtype = pipe.pipeline.unet.device, pipe.pipeline.unet.dtype
        self._noise = DDPMScheduler.from_config(pipe.pipeline.scheduler.config)
        self._embeddings = {text: _encode_prompt(pipe, text) for text in dict.fromkeys(prompts)}

    def __call__(self, unet: Any, crops: Sequence[Crop], number: int) -> Tensor:
        """Return the mean over the real images, plus the weighted mean over those of the prior."""
        spec, rng = self._spec, torch_rng(self._spec.seed, "noise", number)
        clean = self._latents(crops, rng)
        noise = torch.randn(clean.shape, generator=rng).to(self._device)
        steps = self._noise.config.num_train_timesteps
        times = torch.randint(steps, (len(clean),), generator=rng).to(self._device)
        noisy = self._noise.add_noise(clean, noise, times)
        predicts_noise = self._noise.config.prediction_type == "epsilon"
        target = noise if predicts_noise else self._noise.get_velocity(clean, noise, times)
        predicted = unet(noisy.to(self._dtype), times, **self._conditions(crops), return_dict=False)[0]
        error = (predicted.float() - target).square().mean(dim=(1, 2, 3)) * self._weights(times, predicts_noise)
        loss: Tensor = error[: spec.batch].mean()
        if spec.prior is not None:
            loss = loss + spec.prior.weight * error[spec.batch :].mean()
        return loss

    @torch.no_grad()
    def _latents(self, crops: Sequence[Crop], rng: torch.Generator) -> Tensor:
        pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
        posterior = self._vae.encode(pixels.to(self._device, self._dtype) / 127.5 - 1).latent_dist
        mean, std = posterior.mean.float(), posterior.std.float()
        noise = torch.randn(mean.shape, generator=rng).to(self._device)
        latents: Tensor = (mean + std * noise) * self._vae.config.scaling_factor
        return latents

    def _conditions(self, crops: Sequence[Crop]) -> dict[str, Any]:
        rows = [self._embeddings[crop.prompt] for crop in crops]
        conditions: dict[str, Any] = {"encoder_hidden_states": torch.stack([row["prompt_embeds"] for row in rows])}
        if "pooled_prompt_embeds" in rows[0]:  # SDXL
            ids = torch.tensor([crop.ids for crop in crops], device=self._device, dtype=self._dtype)
            pooled = torch.stack([row["pooled_prompt_embeds"] for row in rows])
            conditions["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
        control_images = [crop.control for crop in crops if crop.control is not None]
        if control_images:
            control = torch.from_numpy(np.stack(control_images)).permute(0, 3, 1, 2)
            conditions["controlnet_cond"] = control.to(self._device, self._dtype) / 255
        return conditions

    def _weights(self, times: Tensor, predicts_noise: bool) -> Tensor:
        """Return the loss weights by min-SNR-gamma (Hang et al., 2023), or ones."""
        if self._spec.snr_gamma is None:
            return torch.ones(len(times), device=self._device)
        alphas = self._noise.alphas_cumprod.to(self._device)[times]
        snr = (alphas / (1 - alphas)).clamp(min=1e-8)
        weights: Tensor = snr.clamp(max=self._spec.snr_gamma) / (snr if predicts_noise else snr + 1)
        return weights


def _encode_prompt(pipe: DiffusersPipeline, text: str) -> dict[str, Tensor]:
    embeddings = pipe.encode_prompts([prompt_request(text)])
    # Cloned: autograd refuses tensors that were made in inference mode.
    return {name: value[0].clone() for name, value in embeddings.items() if not name.startswith("negative_")}
