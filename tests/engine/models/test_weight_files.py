"""The files of a model that are chosen or refused, and the changes that a fingerprint detects."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.config.model_settings import ModelPart
from engine.errors import ModelError
from engine.models.weight_files import choose_files, fingerprint

XL = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.24.0",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "image_encoder": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
# The layout of large models on the hub: two precisions, whole and sharded, other frameworks, and a single file.
TEXTS = {
    "README.md", "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
    "tokenizer/merges.txt", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json",
    "vae/config.json",
}  # fmt: skip
FP16 = {
    "text_encoder/model.fp16.safetensors",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
}
FP32 = {
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
}
VAE = {"vae/diffusion_pytorch_model.safetensors"}  # in one precision only
OTHERS = {
    ".gitattributes", "LICENSE.md", "sd_xl_turbo_1.0.safetensors", "sd_xl_turbo_1.0_fp16.safetensors",
    "output_tile.jpg", "text_encoder/model.onnx", "text_encoder/pytorch_model.bin", "text_encoder/flax_model.msgpack",
    "text_encoder/openvino_model.bin", "text_encoder/pytorch_model.bin.index.json", "image_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors", "unet/diffusion_pytorch_model.bin", "vae_1_0/config.json",
}  # fmt: skip
LISTING = TEXTS | FP16 | FP32 | VAE | OTHERS


def pipeline_part(variant: str | None = None) -> ModelPart:
    return ModelPart("model.source", "some/model", None, "model_index.json", variant)


CONTROLNET = ModelPart("model.controlnet", "some/net", None, "config.json", "fp16")
ADAPTER = ModelPart("model.adapters.0.source", "some/lora", None, "pytorch_lora_weights.safetensors")


def test_one_precision_is_chosen() -> None:
    assert choose_files(pipeline_part(), LISTING, XL).files == TEXTS | FP32 | VAE
    chosen = choose_files(pipeline_part("fp16"), LISTING, XL)
    assert (chosen.files, chosen.variant) == (TEXTS | FP16 | VAE, "fp16")


def test_choice_equals_diffusers() -> None:
    """The `download` of diffusers chooses weights with `variant_compatible_siblings`."""
    from diffusers.pipelines.pipeline_loading_utils import variant_compatible_siblings

    for variant in (None, "fp16"):
        theirs, _ = variant_compatible_siblings(LISTING - {"image_encoder/pytorch_model.bin"}, variant, ["*.bin"])
        weights = {name for name in choose_files(pipeline_part(variant), LISTING, XL).files if "safetensors" in name}
        assert weights == {name for name in theirs if "safetensors" in name}


def test_older_shard_names_have_a_variant() -> None:
    old = {f"unet/diffusion_pytorch_model-0000{n}-of-00002.fp16.safetensors" for n in (1, 2)}
    old |= {"unet/diffusion_pytorch_model.safetensors.fp16.index.json"}
    assert choose_files(pipeline_part("fp16"), TEXTS | FP32 | VAE | old, XL).files >= old
    assert not choose_files(pipeline_part(), TEXTS | FP32 | VAE | old, XL).files & old


def test_controlnet_uses_the_variant_if_it_has_it() -> None:
    plain = {"config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"}
    assert choose_files(CONTROLNET, plain, {}).variant is None
    both = choose_files(CONTROLNET, plain | {"diffusion_pytorch_model.fp16.safetensors"}, {})
    assert (both.files, both.variant) == ({"config.json", "diffusion_pytorch_model.fp16.safetensors"}, "fp16")


def test_adapter_is_one_file() -> None:
    names = {"pytorch_lora_weights.safetensors", "model.safetensors", "optimizer.bin", "README.md"}
    assert choose_files(ADAPTER, names, {}).files == {"pytorch_lora_weights.safetensors", "README.md"}


@pytest.mark.parametrize(
    ("part", "names", "index", "words"),
    [
        (pipeline_part("bf16"), LISTING, XL, ["model.variant", "'bf16'", "fp16, non_ema"]),
        (pipeline_part(), LISTING - FP32 - {"unet/diffusion_pytorch_model.non_ema.safetensors"}, XL, ["only as fp16"]),
        (pipeline_part(), LISTING - VAE | {"vae/weights.ckpt"}, XL, ["vae/weights.ckpt", "safe_serialization=True"]),
        (pipeline_part(), LISTING, XL | {"_class_name": ["mine", "X"]}, ["mine.py", "never run"]),
        (pipeline_part(), LISTING | {"unet/own.py"}, XL | {"unet": ["own", "Net"]}, ["unet/own.py", "never run"]),
        (pipeline_part(), {"sd-v1-4.ckpt", "README.md"}, {}, ["model.source", "has no model_index.json"]),
        (CONTROLNET, {"config.json", "diffusion_pytorch_model.bin"}, {}, ["model.controlnet", "safetensors"]),
        (ADAPTER, {"pytorch_lora_weights.bin"}, {}, ["model.adapters.0", "pytorch_lora_weights.bin"]),
        (ADAPTER, {"style.safetensors"}, {}, ["has no pytorch_lora_weights.safetensors"]),
    ],
)
def test_unloadable_models_are_refused(
    part: ModelPart, names: set[str], index: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        choose_files(part, names, index)
    assert all(text in str(caught.value) for text in words), str(caught.value)


def test_fingerprint_covers_every_tensor(tmp_path: Path) -> None:
    tensors = {f"layer{n}": np.full((64, 64), n, np.float32) for n in range(5)}

    def fingerprint_of(changed: dict[str, np.ndarray]) -> str:
        save_file(changed, tmp_path / "model.safetensors")
        return fingerprint("model.source", tmp_path, ["model.safetensors", "config.json"])

    base = fingerprint_of(tensors)
    assert fingerprint_of(tensors) == base
    changed = {fingerprint_of(tensors | {name: tensor + 1e-6}) for name, tensor in tensors.items()}
    assert len(changed | {base}) == 6


@pytest.mark.parametrize("broken", [b"version https://git-lfs.github.com/spec/v1\noid sha256:0", b"", b"\x02"])
def test_broken_weights_are_named(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(broken)
    with pytest.raises(ModelError, match=r"model\.safetensors is not a complete safetensors file"):
        fingerprint("model.source", tmp_path, ["model.safetensors"])
