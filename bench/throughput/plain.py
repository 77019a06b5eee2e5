"""A diffusers pipeline in a loop, as a user without Shardmill runs it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Model:
    """A model and its settings.

    dtype:   fp32, bf16 or fp16.
    threads: threads of torch on a CPU.
    side:    pixels of both sides; None for the model's own size.
    """

    folder: Path
    steps: int
    guidance: float = 0.0
    dtype: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    side: int | None = None


def load_pipe(model: Model) -> Any:
    """Load the pipeline as the guides of diffusers recommend: in a fast dtype, with channels_last convolutions."""
    import torch
    from diffusers import AutoPipelineForText2Image

    if model.device == "cpu":
        torch.set_num_threads(model.threads)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    pipe = AutoPipelineForText2Image.from_pretrained(str(model.folder), dtype=dtypes[model.dtype], use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    for name in ("unet", "vae"):
        if hasattr(pipe, name):
            getattr(pipe, name).to(memory_format=torch.channels_last)
    return pipe.to(model.device)


def images(pipe: Any, model: Model, prompts: Sequence[str], first_seed: int, output_type: str = "pil") -> Any:
    """Generate one image per prompt, with consecutive seeds from `first_seed`."""
    import torch

    seeds = range(first_seed, first_seed + len(prompts))
    return pipe(
        prompt=list(prompts),
        num_inference_steps=model.steps,
        guidance_scale=model.guidance,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        output_type=output_type,
        **_size(model),
    ).images


class BareLoop:
    """A loop that denoises and decodes batch after batch. Texts are encoded before; no image leaves the device.

    pipe: a loaded pipeline; by default the model is loaded.
    """

    def __init__(self, model: Model, prompt: str, batch_size: int, pipe: Any = None) -> None:
        import torch

        self._model, self._batch, self._pipe = model, batch_size, pipe or load_pipe(model)
        with torch.inference_mode():
            self._texts = _encoded(self._pipe, model, [prompt] * batch_size)
        self.rate(2 * batch_size)

    def rate(self, count: int) -> float:
        """Generate this many images, a multiple of the batch; return the images per second."""
        import torch

        assert count % self._batch == 0
        began = time.perf_counter()
        with torch.inference_mode():
            for first in range(0, count, self._batch):
                self._pipe(
                    **self._texts,
                    num_inference_steps=self._model.steps,
                    guidance_scale=self._model.guidance,
                    generator=[torch.Generator("cpu").manual_seed(first + n) for n in range(self._batch)],
                    output_type="pt",
                    **_size(self._model),
                )
        if self._model.device == "cuda":
            torch.cuda.synchronize()
        return count / (time.perf_counter() - began)


def _size(model: Model) -> dict[str, int]:
    return {} if model.side is None else {"height": model.side, "width": model.side}


def _encoded(pipe: Any, model: Model, prompts: Sequence[str]) -> dict[str, Any]:
    """Encode prompts; return the arguments that replace them in pipelines of Stable Diffusion and Z-Image."""
    embeddings = pipe.encode_prompt(
        prompt=list(prompts),
        device=model.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=model.guidance > 1,
    )
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    return {name: value for name, value in zip(names, embeddings, strict=False) if value is not None}
