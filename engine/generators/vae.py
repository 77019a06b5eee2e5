"""The autoencoder of a pipeline: another one than its own, in which dtype it computes, and how many images at once."""

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


def check_vae(vae: Any, found: LocalModel, base: LocalModel) -> None:
    """Raises ModelError where it cannot take the place of the model's own, which the model's folder describes.

    diffusers asks for nothing of it: another number of channels fails in the midst of the first batch, and another
    scale makes images of another size.
    """
    place, index = f"{found.part.place}: {found.part.source}", base.folder / "vae" / "config.json"
    if not index.is_file():
        raise ModelError(f"{place} has nothing to replace: {base.part.source} has no autoencoder; leave it out")
    own, new = json.loads(index.read_text(encoding="utf-8")), getattr(vae, "config", {})
    if not hasattr(vae, "decode") or "latent_channels" not in new:
        raise ModelError(f"{place} is a {type(vae).__name__}; give an autoencoder like AutoencoderTiny")
    for fact, of_own, of_new in (
        ("channels", own.get("latent_channels", 4), new["latent_channels"]),
        ("pixels a side", _scale(own), _scale(new)),
    ):
        if of_own != of_new:
            raise ModelError(
                f"{place} decodes latents of {of_new} {fact}, and {base.part.source} makes them of {of_own}; "
                "give one that was made for this family of models"
            )


def upcast_vae(vae: Any, device: Device) -> None:
    """Let a VAE that overflows in fp16 compute in bf16, or in fp32 where the GPU has no bf16.

    The pipeline's own remedy, to copy it to fp32 and back on every call, costs more than the decoding.
    """
    narrow = device.name == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    vae.to(torch.float32 if narrow else torch.bfloat16)
    vae.register_to_config(force_upcast=False)


def wrap_vae(vae: Any, batch: int | None, stages: DeviceStages) -> None:
    """Let a VAE take images and latents of any dtype, decode this many at once, and say when it begins to decode.

    batch: as many as `decoded_at_once` says if None.
    """
    encode, decode = vae.encode, vae.decode

    @wraps(encode)
    def encoded(x: Tensor, *rest: Any, **more: Any) -> Any:
        return encode(x.to(vae.dtype), *rest, **more)

    @wraps(decode)
    def decoded(z: Tensor, *, return_dict: bool = True, **more: Any) -> Any:
        stages.enter("decode")
        groups = _groups(z.to(vae.dtype), batch or decode_group_size(vae.config, z.shape))
        parts = [decode(group, return_dict=False, **more)[0] for group in groups]
        made = parts[0] if len(parts) == 1 else torch.cat(parts)
        made = made[: len(z)]
        return DecoderOutput(sample=made) if return_dict else (made,)

    vae.encode, vae.decode = encoded, decoded


def decode_group_size(config: Mapping[str, Any], shape: Sequence[int]) -> int:
    """How many of a batch of latents an AutoencoderKL decodes at once: all, or equal groups of as many as leave every
    layer's output below 2**31 values, which is as far as a kernel with 32-bit indices can reach.

    config: the autoencoder's; where it says no `block_out_channels`, all. shape: of the latents, (N, C, H, W).
    """
    widths = list(config.get("block_out_channels", ()))[::-1]
    # Every block but the last ends by doubling both sides of what it made, at as many channels.
    values = max((width * 4**n for n, width in enumerate(widths[:-1], 1)), default=0) * shape[-2] * shape[-1]
    groups = math.ceil(shape[0] * values / (2**31 - 1)) or 1
    return math.ceil(shape[0] / groups)


def _groups(z: Tensor, size: int) -> tuple[Tensor, ...]:
    """All of one size: with fewer rows, the decoder would make other last bits of them."""
    missing = -len(z) % size
    if missing:
        z = torch.cat([z, z[-1:].repeat(missing, *[1] * (z.ndim - 1))])
    return torch.split(z, size)


def _scale(config: Any) -> int:
    return int(2 ** (len(config.get("block_out_channels", "....")) - 1))
