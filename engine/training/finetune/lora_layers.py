"""The LoRA layers of a UNet (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021)."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from engine.errors import ModelError, SpecError
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import seeded_init

FILE = "pytorch_lora_weights.safetensors"
_PREDICTIONS = ("epsilon", "v_prediction")


def check_supported(pipe: Any, source: str) -> None:
    """Raise ModelError for a pipeline whose training loss is not implemented."""
    prediction = pipe.scheduler.config.get("prediction_type")
    if type(pipe) not in (StableDiffusionPipeline, StableDiffusionXLPipeline):
        unsupported = type(pipe).__name__
    elif prediction not in _PREDICTIONS or "beta_schedule" not in pipe.scheduler.config:
        unsupported = f"{type(pipe.scheduler).__name__} with prediction {prediction}"
    else:
        return
    raise ModelError(
        f"model.source: {source} is a {unsupported}, which finetune does not train; give a text-to-image model of the "
        "Stable Diffusion or SDXL family whose scheduler has a beta_schedule and predicts "
        f"{' or '.join(_PREDICTIONS)}"
    )


class LoraLearner:
    """The LoRA adapter of a UNet. Its weights alone are trained, in fp32. dtype: of the UNet."""

    title = "adapter"

    def __init__(self, pipe: Any, spec: FinetuneSpec) -> None:
        self._pipe, self.model = pipe, pipe.unet
        self.dtype, self.device = pipe.unet.dtype, pipe.unet.device
        self._scale = (spec.alpha or spec.rank) / spec.rank
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                part.requires_grad_(False)
        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha or spec.rank,  # type: ignore[arg-type]  # peft takes any number
            target_modules=list(spec.targets),
            init_lora_weights="gaussian",
        )
        try:
            with seeded_init(spec.seed, "lora"):
                self.model.add_adapter(config)
        except ValueError as error:
            raise SpecError(f"targets: {str(error).splitlines()[0]}") from error
        cast_training_params(self.model, dtype=torch.float32)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return dict(get_peft_model_state_dict(self.model))

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore weights."""
        set_peft_model_state_dict(self.model, state)

    def save(self, folder: Path) -> None:
        """Write `FILE` to a folder."""
        # The scale becomes part of one of the two matrices, because a reader without metadata takes alpha for the rank.
        # Metadata is no alternative: safetensors writes it in a random order, and bytes would differ.
        layers = {
            name: (value * self._scale if "lora_B" in name else value).detach().cpu().contiguous()
            for name, value in self.state().items()
        }
        self._pipe.save_lora_weights(folder, unet_lora_layers=layers, safe_serialization=True)
        (folder / FILE).chmod(0o644)  # The library makes weights readable by their owner alone.
