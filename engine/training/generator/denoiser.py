"""The denoiser: a UNet on latents, conditioned on the text encoder, trained jointly with it.

Prediction of v (Salimans and Ho, "Progressive Distillation", 2022) on the cosine schedule (Nichol and Dhariwal, 2021),
with min-SNR-gamma loss weights (Hang et al., 2023). Sampled by DDIM (Song et al., 2020), which draws no noise inside
a step, from the last of the training times on (Lin et al., 2023, "Common Diffusion Noise Schedules ... Are Flawed").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from engine.training.generator.augmentation_pool import Pool
from engine.training.generator.captions import caption
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.generator.untyped import Scheduler, Unet
from engine.training.optimizer import Optimiser
from engine.training.random_streams import numpy_rng, seeded_init, torch_rng
from engine.training.stage_checkpoint import StageCheckpoint
from engine.training.training_log import Log, TrainingProgress

TIMES = 1000


def make_scheduler() -> Scheduler:
    """The sampler that is shipped; its betas are also what training noises with."""
    return DDIMScheduler(
        num_train_timesteps=TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # the pipeline insists on it; trailing times do not use it
    )


def make_unet(spec: GeneratorSpec) -> Unet:
    """An untrained UNet."""
    plan = spec.denoiser
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in plan.attends)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(plan.attends))
    levels = len(spec.autoencoder.channels)
    with seeded_init(spec.seed, "denoiser"):
        return UNet2DConditionModel(
            sample_size=spec.size // 2 ** (levels - 1),
            in_channels=spec.autoencoder.latent_channels,
            out_channels=spec.autoencoder.latent_channels,
            block_out_channels=plan.channels,
            layers_per_block=plan.layers,
            down_block_types=down,
            up_block_types=up,
            cross_attention_dim=spec.text.width,
            attention_head_dim=plan.heads,
            norm_num_groups=8,
        )


class Denoiser(nn.Module):
    """UNet and text encoder as one module, because they are trained and averaged together."""

    def __init__(self, unet: Unet, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        """noisy (B, C, h, w), times (B,) in [0, 1000), tokens (B, T) -> v of the shape of `noisy`."""
        context = self.encoder(tokens)[0]
        output: Tensor = self.unet(noisy, times, context).sample
        return output


@dataclass
class Average:
    """Exponential moving average of the weights, with a shorter memory at the start (Karras et al., EDM, 2022)."""

    weights: dict[str, Tensor]
    decay: float

    @classmethod
    def of(cls, model: nn.Module, decay: float) -> Average:
        """Start from the present weights."""
        return cls({name: value.detach().clone() for name, value in model.named_parameters()}, decay)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the present weights."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in model.named_parameters():
            self.weights[name].lerp_(value.detach(), 1 - decay)


@dataclass(frozen=True)
class DenoisingBatch:
    """clean: scaled latents (B, C, h, w); noise: the same shape; times: (B,); tokens: (B, T)."""

    clean: Tensor
    noise: Tensor
    times: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> DenoisingBatch:
        """The batch on a device."""
        return DenoisingBatch(*(each.to(device) for each in (self.clean, self.noise, self.times, self.tokens)))


def batch_maker(
    pool: Pool, latents: tuple[Tensor, Tensor], tokenizer: CLIPTokenizer, classes: tuple[str, ...], spec: GeneratorSpec
) -> Callable[[int], DenoisingBatch]:
    """A function from the step to its batch; latents are (mean, std), already scaled."""
    mean, std = latents
    size = spec.denoiser.batch

    def make(step: int) -> DenoisingBatch:
        rng, noises = numpy_rng(spec.seed, "denoiser", step), torch_rng(spec.seed, "denoiser", step)
        chosen = rng.integers(len(pool.images), size=size)
        texts = [caption(classes[pool.labels[at]], pool.words[at], spec.captions, rng) for at in chosen]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        index = torch.from_numpy(chosen)
        clean = mean[index] + std[index] * torch.randn(mean[index].shape, generator=noises)
        # One draw in each of `size` equal parts of time: the loss varies less between steps (Kingma et al., 2021).
        spread = (torch.arange(size) + torch.rand(size, generator=noises)) / size
        return DenoisingBatch(clean, torch.randn(clean.shape, generator=noises), (spread * TIMES).long(), tokens)

    return make


def denoising_loss(model: nn.Module, batch: DenoisingBatch, alphas: Tensor, snr_cap: float) -> Tensor:
    """Weighted squared error of v. `alphas` is the cumulative product (1000,) of the schedule."""
    signal = alphas[batch.times].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * batch.clean + (1 - signal).sqrt() * batch.noise
    target = signal.sqrt() * batch.noise - (1 - signal).sqrt() * batch.clean
    error = (model(noisy, batch.times, batch.tokens).float() - target).square().mean(dim=(1, 2, 3))
    snr = signal.flatten() / (1 - signal.flatten())
    loss: Tensor = (error * snr.clamp(max=snr_cap) / (snr + 1)).mean()
    return loss


def train_denoiser(
    model: Denoiser,
    make_batch: Callable[[int], DenoisingBatch],
    spec: GeneratorSpec,
    checkpoint: StageCheckpoint,
    log: Log,
) -> float | None:
    """Train in place and leave the averaged weights in the model. Returns the last logged loss."""
    plan = spec.denoiser
    device = next(model.parameters()).device
    model.train()
    model.unet.to(memory_format=torch.channels_last)
    alphas = make_scheduler().alphas_cumprod.to(device)
    optimiser = Optimiser(list(model.parameters()), rate=plan.rate, warmup=plan.warmup, steps=plan.steps)
    average = Average.of(model, plan.ema)
    start = _resume(model, optimiser, average, checkpoint)
    progress = TrainingProgress("denoiser", plan.steps, plan.batch, log)
    for step in range(start, plan.steps):
        batch = make_batch(step).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16"):
            loss = denoising_loss(model, batch, alphas, plan.snr_cap)
        optimiser.step(loss, step)
        average.update(model, step)
        progress.update(step + 1, float(loss.detach()))
        checkpoint.save_if_due(partial(_state, model, optimiser, average, step + 1))
    if start < plan.steps:
        checkpoint.save(_state(model, optimiser, average, plan.steps))
    model.load_state_dict(average.weights, strict=False)
    model.eval()
    return progress.last


def _state(model: nn.Module, optimiser: Optimiser, average: Average, done: int) -> dict[str, object]:
    return {**optimiser.state(model, done), "average": average.weights}


def _resume(model: nn.Module, optimiser: Optimiser, average: Average, checkpoint: StageCheckpoint) -> int:
    start = optimiser.resume(checkpoint, model)
    state = checkpoint.load()
    if state is not None:
        average.weights = {name: value.to(average.weights[name].device) for name, value in state["average"].items()}
    return start
