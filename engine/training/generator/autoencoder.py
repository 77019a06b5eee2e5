"""The autoencoder: RGB images to a smaller latent, and back."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.training.checkpoint import Checkpoint
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.optimizer import ClippedAdamW
from engine.training.random_streams import numpy_rng, seeded_init, torch_rng
from engine.training.training_loop import LogLine, TrainingLoop

Autoencoder = Any
"""An AutoencoderKL, whose base class is untyped."""

_STANDARDISED_ON = 10_000  # Most images that the mean and variance of latents are taken over.


def make_autoencoder(spec: GeneratorSpec) -> Autoencoder:
    """Return an untrained AutoencoderKL."""
    levels = len(spec.autoencoder.channels)
    with seeded_init(spec.seed, "autoencoder"):
        return AutoencoderKL(
            block_out_channels=spec.autoencoder.channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            latent_channels=spec.autoencoder.latent_channels,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=spec.size,
            force_upcast=False,
        )


def to_model(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Convert RGB uint8 (N, H, W, 3) to float (N, 3, H, W) in [-1, 1], in channels_last."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_autoencoder(
    model: Autoencoder, images: NDArray[np.uint8], spec: GeneratorSpec, checkpoint: Checkpoint, log: LogLine
) -> float:
    """Train in place on RGB images (N, H, W, 3), then standardise the latents. Returns the `reconstruction_error`.

    Loss: mean absolute plus mean squared error per pixel, and the KL term of Rombach et al. 2022 per latent element.
    """
    stage = spec.autoencoder
    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)
    optimizer = ClippedAdamW(list(model.parameters()), rate=stage.rate, warmup=50, steps=stage.steps)

    def do_step(step: int) -> float:
        chosen = numpy_rng(spec.seed, "autoencoder", step).integers(len(images), size=stage.batch)
        target = to_model(images[chosen], device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16"):
            posterior = model.encode(target).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=torch_rng(spec.seed, "autoencoder", step)).to(device)
            output = model.decode(posterior.mean + posterior.std * noise).sample.float()
        pixels = functional.l1_loss(output, target) + functional.mse_loss(output, target)
        loss = pixels + stage.kl_weight * posterior.kl().float().mean() / posterior.mean[0].numel()
        optimizer.step(loss, step)
        return float(pixels.detach())

    loop = TrainingLoop("autoencoder", stage.steps, stage.batch, checkpoint, log)
    loop.run(do_step, lambda: optimizer.state(model), lambda state: optimizer.restore(state, model))
    model.eval()
    standardise(model, images)
    error = reconstruction_error(model, images)
    log(f"autoencoder: mean error of a pixel {error:.4f} of full white")
    return error


@torch.no_grad()
def standardise(model: Autoencoder, images: NDArray[np.uint8]) -> None:
    """Give every latent channel mean 0 and variance 1 over the images, and set `scaling_factor` to 1.

    The shift and the scale go into the 1x1 convolutions on both sides of the latent, so decoding does not change.
    """
    means, stds = encode_all(model, images[:: math.ceil(len(images) / _STANDARDISED_ON)])
    centre = means.mean(dim=(0, 2, 3)).to(model.device)
    scale = (means.var(dim=(0, 2, 3)) + stds.square().mean(dim=(0, 2, 3))).sqrt().to(model.device)
    before, after, channels = model.quant_conv, model.post_quant_conv, len(centre)
    after.bias += after.weight[:, :, 0, 0] @ centre
    after.weight *= scale.view(1, -1, 1, 1)
    before.weight[:channels] /= scale.view(-1, 1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - centre) / scale
    before.bias[channels:] -= 2 * scale.log()
    model.register_to_config(scaling_factor=1.0)


def batches(images: NDArray[np.uint8], size: int = 256) -> Iterator[NDArray[np.uint8]]:
    """Yield the images, at most `size` at a time."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


@torch.no_grad()
def encode_all(model: Autoencoder, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every image's latent, unscaled, each (N, C, h, w), on the CPU."""
    device = next(model.parameters()).device
    posteriors = [model.encode(to_model(batch, device)).latent_dist for batch in batches(images)]
    return torch.cat([batch.mean.cpu() for batch in posteriors]), torch.cat([batch.std.cpu() for batch in posteriors])


@torch.no_grad()
def reconstruction_error(model: Autoencoder, images: NDArray[np.uint8], count: int = 512) -> float:
    """Return the mean absolute error per pixel of encoding and decoding, on the scale 0 to 1."""
    target = to_model(images[:: max(len(images) // count, 1)], next(model.parameters()).device)
    output = model.decode(model.encode(target).latent_dist.mean).sample
    return float((output - target).abs().mean()) / 2
