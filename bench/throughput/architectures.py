"""The models that are measured on a GPU: their published configurations, with random weights.

Speed does not depend on the weights unless they are zero. Each model also has a small size with the same classes, for
tests on a machine without a GPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

_CROSS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
_CROSS_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
_SD_UNET = {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2,
            "down_block_types": _CROSS, "up_block_types": _CROSS_UP}  # fmt: skip
_SDXL_UNET = {
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}  # fmt: skip
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
           "hidden_act": "quick_gelu", "projection_dim": 768}  # fmt: skip
_CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
           "hidden_act": "gelu", "projection_dim": 512}  # fmt: skip
_CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
           "hidden_act": "gelu", "projection_dim": 1280}  # fmt: skip
# Qwen3-4B with 2 of its 36 layers. Captions are encoded once and are not measured, and loading the other layers would
# take most of the time limit.
_QWEN = {"vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 2,
         "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}  # fmt: skip

_SMALL_UNET = {"block_out_channels": (16, 32, 32, 32), "layers_per_block": 1, "norm_num_groups": 8,
               "attention_head_dim": 4, "cross_attention_dim": 16}  # fmt: skip
_SMALL_XL = {"block_out_channels": (16, 32, 32), "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 4,
             "transformer_layers_per_block": 1, "cross_attention_dim": 32, "addition_time_embed_dim": 4,
             "projection_class_embeddings_input_dim": 16 + 6 * 4}  # fmt: skip
_SMALL_VAE = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
_SMALL_CLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
               "projection_dim": 16}  # fmt: skip
_SMALL_DIT = {"dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 16,
              "axes_dims": (4, 6, 6), "axes_lens": (1024, 64, 64)}  # fmt: skip
_SMALL_QWEN = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
               "num_key_value_heads": 1, "head_dim": 8}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A model and its usual settings.

    family:          `sd`, `sdxl` or `z-image`.
    side:            pixels of both sides.
    steps, guidance: the settings of the model's card.
    batch:           images of a batch on a GPU of 80 GB or more.
    denoiser:        configuration of the UNet or transformer.
    vae, texts:      configurations of the autoencoder and of the text encoders.
    """

    name: str
    family: str
    side: int
    steps: int
    guidance: float
    batch: int
    denoiser: Mapping[str, Any]
    vae: Mapping[str, Any]
    texts: tuple[Mapping[str, Any], ...]
    scheduler: tuple[str, Mapping[str, Any]]

    @property
    def forwards(self) -> int:
        """Return the forward passes of the denoiser for one image: two per step with guidance, else one."""
        return self.steps * (2 if self.guidance > 1 else 1)

    @property
    def latent(self) -> tuple[int, int, int]:
        """Return the channels, height and width of the latents of an image."""
        return (int(self.vae["latent_channels"]), self.side // 8, self.side // 8)

    def small(self) -> "Architecture":
        """Return a small version for a CPU, with 64x64 pixels."""
        denoiser = {"sd": _SMALL_UNET, "sdxl": _SMALL_XL, "z-image": _SMALL_DIT}[self.family]
        text = _SMALL_QWEN if self.family == "z-image" else _SMALL_CLIP
        return replace(
            self,
            side=64,
            steps=min(self.steps, 2),
            batch=2,
            denoiser={**self.denoiser, **denoiser},
            vae={**self.vae, **_SMALL_VAE},
            texts=tuple({**config, **text} for config in self.texts),
        )


_NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
_TRAILING = ("EulerDiscreteScheduler", {**_NOISE, "timestep_spacing": "trailing"})
_LEADING = ("EulerDiscreteScheduler", {**_NOISE, "timestep_spacing": "leading"})
_FLOW = ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})
_SDXL_VAE = {**_VAE, "scaling_factor": 0.13025, "sample_size": 1024}

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("SD-Turbo 512", "sd", 512, 1, 0.0, 32,
                     {**_SD_UNET, "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024,
                      "use_linear_projection": True}, _VAE, (_CLIP_H,), _TRAILING),
        Architecture("SDXL-Turbo 512", "sdxl", 512, 1, 0.0, 32, {**_SDXL_UNET, "sample_size": 64}, _SDXL_VAE,
                     (_CLIP_L, _CLIP_G), _TRAILING),
        Architecture("SD1.5 512", "sd", 512, 30, 7.5, 32,
                     {**_SD_UNET, "attention_head_dim": 8, "cross_attention_dim": 768}, _VAE, (_CLIP_L,), _LEADING),
        Architecture("SDXL 1024", "sdxl", 1024, 20, 5.0, 8, {**_SDXL_UNET, "sample_size": 128}, _SDXL_VAE,
                     (_CLIP_L, _CLIP_G), _LEADING),
        Architecture("Z-Image-Turbo 1024", "z-image", 1024, 8, 0.0, 4, {},
                     {**_VAE, "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159,
                      "use_quant_conv": False, "use_post_quant_conv": False}, (_QWEN,), _FLOW),
    )
}  # fmt: skip
"""All architectures by name."""


def make_denoiser(architecture: Architecture) -> Any:
    """Make the UNet or transformer on torch's default device and in its default dtype."""
    from diffusers import UNet2DConditionModel, ZImageTransformer2DModel

    return (ZImageTransformer2DModel if architecture.family == "z-image" else UNet2DConditionModel)(
        **architecture.denoiser
    )


def make_vae(architecture: Architecture) -> Any:
    """Make the autoencoder."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(**architecture.vae)


def make_tiny_vae(architecture: Architecture) -> Any:
    """Make the small autoencoder that can replace the full one."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(latent_channels=architecture.latent[0])


def make_pipe(architecture: Architecture, clip_tokenizer: Callable[[], Any]) -> Any:
    """Make the whole pipeline. clip_tokenizer: makes a tokenizer; its words do not matter for speed."""
    import diffusers

    scheduler, settings = architecture.scheduler
    parts = {"scheduler": getattr(diffusers, scheduler)(**settings), "vae": make_vae(architecture)}
    if architecture.family == "z-image":
        from bench.throughput.qwen import make_encoder, make_tokenizer

        encoder, tokenizer = make_encoder(architecture.texts[0]), make_tokenizer()
        return diffusers.ZImagePipeline(
            text_encoder=encoder, tokenizer=tokenizer, transformer=make_denoiser(architecture), **parts
        )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    first = _clip(CLIPTextModel, architecture.texts[0])
    if architecture.family == "sd":
        safety = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return diffusers.StableDiffusionPipeline(
            text_encoder=first, tokenizer=clip_tokenizer(), unet=make_denoiser(architecture), **parts, **safety
        )
    return diffusers.StableDiffusionXLPipeline(
        text_encoder=first,
        text_encoder_2=_clip(CLIPTextModelWithProjection, architecture.texts[1]),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=make_denoiser(architecture),
        **parts,
    )


def _clip(kind: Any, config: Mapping[str, Any]) -> Any:
    from transformers import CLIPTextConfig

    tokens = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 1}
    return kind(CLIPTextConfig(**tokens, pad_token_id=1, **config))
