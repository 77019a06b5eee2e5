"""The autoencoder of a pipeline: checks of a replacement, its dtype, and how many images it decodes at once."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from engine.errors import ModelError
from engine.generators.stages import DeviceStages
from engine.models.devices import Device
from engine.models.resolve import LocalModel


def check_vae(vae: Any, model: LocalModel, base: LocalModel) -> None:
    """Raise ModelError if an autoencoder, loaded from `model`, cannot replace the one of the `base` pipeline."""
    # diffusers checks nothing. Another number of channels would fail in the first batch, and another scale would change
    # the size of the images.
    place, config_path = f"{model.part.place}: {model.part.source}", base.folder / "vae" / "config.json"
    if not config_path.is_file():
        raise ModelError(f"{place} has nothing to replace: {base.part.source} has no autoencoder; leave it out")
    own, new = json.loads(config_path.read_text(encoding="utf-8")), getattr(vae, "config", {})
    if not hasattr(vae, "decode") or "latent_channels" not in new:
        raise ModelError(f"{place} is a {type(vae).__name__}; give an autoencoder like AutoencoderTiny")
    for quantity, expected, value in (
        ("channels", own.get("latent_channels", 4), new["latent_channels"]),
        ("pixels a side", _scale(own), _scale(new)),
    ):
        if expected != value:
            raise ModelError(
                f"{place} decodes latents of {value} {quantity}, and {base.part.source} makes them of {expected}; "
                "give one that was made for this family of models"
            )


def upcast_vae(vae: Any, device: Device) -> None:
    """Let a VAE that overflows in fp16 compute in bf16, or in fp32 if the GPU has no bf16."""
    # The pipeline's own remedy, to copy it to fp32 and back in every call, takes longer than decoding.
    no_bf16 = device.name == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    vae.to(torch.float32 if no_bf16 else torch.bfloat16)
    vae.register_to_config(force_upcast=False)


def wrap_vae(vae: Any, decode_batch: int | None, stages: DeviceStages) -> None:
    """Let a VAE accept any dtype, begin the stage `decode`, and decode in groups; None: see `decode_group_size`."""
    encode, decode = vae.encode, vae.decode

    @wraps(encode)
    def encode_any_dtype(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return encode(x.to(vae.dtype), *args, **kwargs)

    @wraps(decode)
    def decode_in_groups(z: Tensor, *, return_dict: bool = True, **kwargs: Any) -> Any:
        stages.begin("decode")
        groups = _equal_groups(z.to(vae.dtype), decode_batch or decode_group_size(vae.config, z.shape))
        parts = [decode(group, return_dict=False, **kwargs)[0] for group in groups]
        images = (parts[0] if len(parts) == 1 else torch.cat(parts))[: len(z)]
        return DecoderOutput(sample=images) if return_dict else (images,)

    vae.encode, vae.decode = encode_any_dtype, decode_in_groups


def decode_group_size(config: Mapping[str, Any], shape: Sequence[int]) -> int:
    """Return how many latents of a batch an AutoencoderKL decodes at once: all, or one of several equal groups.

    Every layer's output then has fewer than 2**31 values, the reach of 32-bit indices. shape: of latents, (N, C, H, W).
    """
    widths = list(config.get("block_out_channels", ()))[::-1]
    # Every block but the last ends by doubling both sides of its output, with its own number of channels.
    values = max((width * 4**n for n, width in enumerate(widths[:-1], 1)), default=0) * shape[-2] * shape[-1]
    groups = math.ceil(shape[0] * values / (2**31 - 1)) or 1
    return math.ceil(shape[0] / groups)


def _equal_groups(z: Tensor, size: int) -> tuple[Tensor, ...]:
    # All groups have one size: with fewer rows, the decoder would compute other last bits.
    missing = -len(z) % size
    if missing:
        z = torch.cat([z, z[-1:].repeat(missing, *[1] * (z.ndim - 1))])
    return torch.split(z, size)


def _scale(config: Mapping[str, Any]) -> int:
    """Return the pixels per side of one latent; those of four blocks if the config does not list the blocks."""
    return int(2 ** (len(config.get("block_out_channels", range(4))) - 1))
