"""The denoiser: a UNet on latents, trained jointly with the text encoder.

It predicts v (Salimans and Ho, "Progressive Distillation", 2022) on the cosine schedule (Nichol and Dhariwal, 2021),
with min-SNR-gamma loss weights (Hang et al., 2023).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from engine.training.checkpoint import Checkpoint, State
from engine.training.generator.augmentation_pool import AugmentationPool
from engine.training.generator.captions import caption
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.optimizer import ClippedAdamW
from engine.training.random_streams import numpy_rng, seeded_init, torch_rng
from engine.training.training_loop import LogLine, TrainingLoop

TIMES = 1000


def make_scheduler() -> Any:
    """Return the sampler that is saved with the model. Training adds noise by its betas."""
    return DDIMScheduler(
        num_train_timesteps=TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",  # Lin et al., "Common Diffusion Noise Schedules ... Are Flawed", 2023
        clip_sample=False,
        steps_offset=1,  # The pipeline requires it; trailing times do not use it.
    )


def make_unet(spec: GeneratorSpec) -> Any:
    """Return an untrained UNet."""
    settings = spec.denoiser
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in settings.attends)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(settings.attends))
    levels = len(spec.autoencoder.channels)
    with seeded_init(spec.seed, "denoiser"):
        return UNet2DConditionModel(
            sample_size=spec.size // 2 ** (levels - 1),
            in_channels=spec.autoencoder.latent_channels,
            out_channels=spec.autoencoder.latent_channels,
            block_out_channels=settings.channels,
            layers_per_block=settings.layers,
            down_block_types=down,
            up_block_types=up,
            cross_attention_dim=spec.text.width,
            attention_head_dim=settings.heads,
            norm_num_groups=8,
        )


class Denoiser(nn.Module):
    """A UNet and its text encoder as one module, because they are trained and averaged together."""

    def __init__(self, unet: Any, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.encoder = unet, encoder

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        """Predict v, of the shape of `noisy` (B, C, h, w). times: (B,) in [0, 1000). tokens: (B, T)."""
        context = self.encoder(tokens)[0]
        output: Tensor = self.unet(noisy, times, context).sample
        return output


class WeightAverage:
    """An exponential moving average of weights, with a shorter memory at the start (Karras et al., EDM, 2022)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights."""
        decay = min(self._decay, (step + 1) / (step + 10))
        for name, value in model.named_parameters():
            self.weights[name].lerp_(value.detach(), 1 - decay)

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Load weights that a checkpoint kept."""
        self.weights = {name: value.to(self.weights[name].device) for name, value in weights.items()}


class DenoisingBatch(NamedTuple):
    """One step's inputs. clean: scaled latents (B, C, h, w). noise: the same shape. times: (B,). tokens: (B, T)."""

    clean: Tensor
    noise: Tensor
    times: Tensor
    tokens: Tensor


def batch_maker(
    pool: AugmentationPool,
    latents: tuple[Tensor, Tensor],
    tokenizer: CLIPTokenizer,
    classes: tuple[str, ...],
    spec: GeneratorSpec,
) -> Callable[[int], DenoisingBatch]:
    """Return a function from a step to its batch. latents: mean and standard deviation of each image, scaled."""
    mean, std = latents
    size = spec.denoiser.batch

    def make(step: int) -> DenoisingBatch:
        rng, noise_rng = numpy_rng(spec.seed, "denoiser", step), torch_rng(spec.seed, "denoiser", step)
        chosen = rng.integers(len(pool.images), size=size)
        texts = [caption(classes[pool.labels[at]], pool.words[at], spec.captions, rng) for at in chosen]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        index = torch.from_numpy(chosen)
        clean = mean[index] + std[index] * torch.randn(mean[index].shape, generator=noise_rng)
        # One draw in each of `size` equal parts of time: the loss varies less between steps (Kingma et al., 2021).
        times = (torch.arange(size) + torch.rand(size, generator=noise_rng)) / size
        return DenoisingBatch(clean, torch.randn(clean.shape, generator=noise_rng), (times * TIMES).long(), tokens)

    return make


def denoising_loss(model: nn.Module, batch: DenoisingBatch, alphas: Tensor, snr_cap: float) -> Tensor:
    """Return the weighted squared error of v. alphas: the cumulative product of the schedule, (1000,)."""
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
    checkpoint: Checkpoint,
    log: LogLine,
) -> float | None:
    """Train in place and leave the averaged weights in the model. Returns the last logged loss."""
    stage = spec.denoiser
    device = next(model.parameters()).device
    model.train()
    model.unet.to(memory_format=torch.channels_last)
    alphas = make_scheduler().alphas_cumprod.to(device)
    optimizer = ClippedAdamW(list(model.parameters()), rate=stage.rate, warmup=stage.warmup, steps=stage.steps)
    average = WeightAverage(model, stage.ema)

    def do_step(step: int) -> float:
        batch = DenoisingBatch(*(part.to(device) for part in make_batch(step)))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16"):
            loss = denoising_loss(model, batch, alphas, stage.snr_cap)
        optimizer.step(loss, step)
        average.update(model, step)
        return float(loss.detach())

    def state() -> State:
        return optimizer.state(model) | {"average": average.weights}

    def restore(saved: State) -> None:
        optimizer.restore(saved, model)
        average.restore(saved["average"])

    last_loss = TrainingLoop("denoiser", stage.steps, stage.batch, checkpoint, log).run(do_step, state, restore)
    model.load_state_dict(average.weights, strict=False)
    model.eval()
    return last_loss
