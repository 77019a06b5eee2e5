"""Operation counts of forward passes, on meta tensors. A multiplication with an addition counts as two operations."""

from typing import Any

from bench.throughput.architectures import Architecture, make_denoiser, make_tiny_vae, make_vae

CAPTION = 39
"""Tokens of a Z-Image caption with its chat markers. The network pads them to 64."""


def of_image(architecture: Architecture, tiny_vae: bool = False) -> float:
    """Return the TFLOP of one image: all forwards of the denoiser, and the decoder. Encoding texts is not counted."""
    return architecture.forwards * of_denoiser(architecture) + of_decoder(architecture, tiny_vae)


def of_denoiser(architecture: Architecture) -> float:
    """Return the TFLOP of one forward of the denoiser for one image."""
    import torch

    with torch.device("meta"):
        network, latents = make_denoiser(architecture).eval(), torch.empty(1, *architecture.latent)
        if architecture.family == "z-image":
            captions = [torch.empty(CAPTION, network.config.cap_feat_dim)]
            return _count(lambda: network([latents[0].unsqueeze(1)], torch.empty(1), captions))
        inputs = {"encoder_hidden_states": torch.empty(1, 77, network.config.cross_attention_dim)}
        if architecture.family == "sdxl":
            pooled = architecture.texts[-1]["projection_dim"]
            inputs["added_cond_kwargs"] = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
        return _count(lambda: network(latents, torch.empty(1), **inputs))


def of_decoder(architecture: Architecture, tiny: bool = False) -> float:
    """Return the TFLOP of decoding one image."""
    import torch

    with torch.device("meta"):
        vae = (make_tiny_vae if tiny else make_vae)(architecture).eval()
        return _count(lambda: vae.decode(torch.empty(1, *architecture.latent)))


def _count(forward: Any) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return counter.get_total_flops() / 1e12
