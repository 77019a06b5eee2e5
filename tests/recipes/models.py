"""Pipelines of random weights, of the classes that the text-to-image recipes name, saved for 16x16 images."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from bench.tiny_pipeline import make_tokenizer, make_vae

_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_sd(folder: Path, unsafe_above: float = 2.0) -> Path:
    """A StableDiffusionPipeline. unsafe_above: its safety checker refuses an image whose embedding has a higher cosine
    to the concepts it knows; above 1 there is none."""
    torch.manual_seed(0)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config={**vision, "image_size": 16, "patch_size": 4}, projection_dim=8)
    )
    _bold(checker)
    checker.concept_embeds_weights.fill_(unsafe_above)
    checker.special_care_embeds_weights.fill_(2.0)
    pipe = StableDiffusionPipeline(
        vae=_vivid(make_vae(latent_channels=4)),
        text_encoder=_clip(CLIPTextModel),
        tokenizer=make_tokenizer(folder / "words"),
        unet=_unet(cross_attention_dim=16),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    )
    return _saved(pipe, folder)


def make_sdxl(folder: Path, variant: str | None = None, vae_gain: float = 1.0, force_upcast: bool = True) -> Path:
    """Save a StableDiffusionXLPipeline like SDXL-Turbo.

    vae_gain:     what the first activations of its decoder are scaled by; its norms undo that, unless it overflows.
    force_upcast: whether the VAE's config says that it overflows in fp16.
    """
    torch.manual_seed(0)
    unet = _unet(
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
    )
    vae = _vivid(make_vae(latent_channels=4, force_upcast=force_upcast, scaling_factor=0.13025))
    with torch.no_grad():
        vae.decoder.conv_in.weight *= vae_gain
        vae.decoder.conv_in.bias *= vae_gain
    tokenizer = make_tokenizer(folder / "words")
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=_clip(CLIPTextModel),
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(timestep_spacing="trailing"),
    )
    return _saved(pipe, folder, variant)


def make_z_image_network() -> ZImageTransformer2DModel:
    """That of such a pipeline, of captions with 16 features a token."""
    network = ZImageTransformer2DModel(
        dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[4, 6, 6], axes_lens=[1024, 32, 32],
    )  # fmt: skip
    _bold(network)
    return network


def make_z_image(folder: Path) -> Path:
    """Save a ZImagePipeline, whose captions have as many tokens as letters."""
    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters]
    tokenizer = Qwen2Tokenizer({word: i for i, word in enumerate(words)}, [], additional_special_tokens=words[1:3])
    tokenizer.chat_template = _CHAT
    text = Qwen3Model(
        Qwen3Config(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=512,
        )
    )  # fmt: skip
    transformer = make_z_image_network()
    pipe = ZImagePipeline(
        vae=_vivid(make_vae(latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159)),
        text_encoder=text,
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    return _saved(pipe, folder)


def make_sd3(folder: Path) -> Path:
    """Save a StableDiffusion3Pipeline with its three text encoders."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(folder / "words")
    pipe = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8, num_layers=1, attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16,
            joint_attention_dim=32, pooled_projection_dim=32, out_channels=16, pos_embed_max_size=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vivid(make_vae(latent_channels=16, scaling_factor=1.5, shift_factor=0.06)),
        text_encoder=_clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer_2=tokenizer,
        text_encoder_3=_t5(),
        tokenizer_3=_t5_tokenizer(),
    )  # fmt: skip
    return _saved(pipe, folder)


def make_flux(folder: Path) -> Path:
    """Save a FluxPipeline: a family that gets its prompts as texts."""
    torch.manual_seed(0)
    pipe = FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vivid(make_vae(latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159)),
        text_encoder=_clip(CLIPTextModel),
        tokenizer=make_tokenizer(folder / "words"),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
    )  # fmt: skip
    return _saved(pipe, folder)


def _saved(pipe: Any, folder: Path, variant: str | None = None) -> Path:
    pipe.save_pretrained(folder, variant=variant)
    return folder


def _clip(kind: type[CLIPTextModel] | type[CLIPTextModelWithProjection]) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=92, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=32, projection_dim=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip


def _t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2))


def _t5_tokenizer() -> T5Tokenizer:
    words = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz0123456789,.-"]
    return T5Tokenizer([(word, -float(i)) for i, word in enumerate(words)], extra_ids=0, model_max_length=512)


def _unet(**config: Any) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, attention_head_dim=4, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **config,
    )  # fmt: skip
    _bold(unet)
    return unet


def _bold(model: torch.nn.Module) -> None:
    """Larger weights: with those of a fresh model the text hardly moves the image, and a test would not see it."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and ("attn" in name or "cap_embedder" in name or "attention" in name):
                weight *= 3


def _vivid(vae: AutoencoderKL) -> AutoencoderKL:
    """Images over the whole range: a fresh decoder's are nearly grey, which the filter for blank ones rejects."""
    with torch.no_grad():
        vae.decoder.conv_out.weight *= 2
    return vae
