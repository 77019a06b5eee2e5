"""The operations of a forward pass, counted on tensors without memory: two for a multiplication with an addition."""

from typing import Any

from bench.throughput.architectures import Architecture, make_denoiser, make_tiny_vae, make_vae

CAPTION = 39
"""Tokens of a caption of Z-Image, with the marks of a chat; the network fills them up to 64."""


def of_image(one: Architecture, tiny_vae: bool = False) -> float:
    """TFLOP of one image: all forwards of the denoiser, and the decoder. Texts are encoded once, and do not count."""
    return one.forwards * of_denoiser(one) + of_decoder(one, tiny_vae)


def of_denoiser(one: Architecture) -> float:
    """TFLOP of one forward for one image."""
    import torch

    with torch.device("meta"):
        network, latents = make_denoiser(one).eval(), torch.empty(1, *one.latent)
        if one.family == "z-image":
            captions = [torch.empty(CAPTION, network.config.cap_feat_dim)]
            return _counted(lambda: network([latents[0].unsqueeze(1)], torch.empty(1), captions))
        inputs = {"encoder_hidden_states": torch.empty(1, 77, network.config.cross_attention_dim)}
        if one.family == "sdxl":
            pooled = one.texts[-1]["projection_dim"]
            inputs["added_cond_kwargs"] = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
        return _counted(lambda: network(latents, torch.empty(1), **inputs))


def of_decoder(one: Architecture, tiny: bool = False) -> float:
    """TFLOP of decoding one image."""
    import torch

    with torch.device("meta"):
        vae = (make_tiny_vae if tiny else make_vae)(one).eval()
        return _counted(lambda: vae.decode(torch.empty(1, *one.latent)))


def _counted(forward: Any) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return counter.get_total_flops() / 1e12
