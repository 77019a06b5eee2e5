"""The usual loop without Shardmill: a pipeline of diffusers on its device."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Model:
    """Which model, and how it is run.

    dtype: fp32, bf16 or fp16. threads: of torch on a CPU. side: pixels of both sides, the model's own if none.
    """

    folder: Path
    steps: int
    guidance: float = 0.0
    dtype: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    side: int | None = None


def load_pipe(model: Model) -> Any:
    """Load a pipeline as diffusers' guides do: in the device's fast dtype, with channels_last convolutions."""
    import torch
    from diffusers import AutoPipelineForText2Image

    if model.device == "cpu":
        torch.set_num_threads(model.threads)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    pipe = AutoPipelineForText2Image.from_pretrained(str(model.folder), dtype=kinds[model.dtype], use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    for name in ("unet", "vae"):
        if hasattr(pipe, name):
            getattr(pipe, name).to(memory_format=torch.channels_last)
    return pipe.to(model.device)


def images(pipe: Any, model: Model, prompts: Sequence[str], first_seed: int, output_type: str = "pil") -> Any:
    """The images of these prompts, with seeds from the first one on."""
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
    """Denoises and decodes batch after batch. The texts were encoded before, and no image leaves the device.

    pipe: one that is loaded already; else it is loaded as a user would.
    """

    def __init__(self, model: Model, prompt: str, batch_size: int, pipe: Any = None) -> None:
        import torch

        self._model, self._batch, self._pipe = model, batch_size, pipe or load_pipe(model)
        with torch.inference_mode():
            self._texts = _encoded(self._pipe, model, [prompt] * batch_size)
        self.rate(2 * batch_size)

    def rate(self, count: int) -> float:
        """Images per second over so many, a multiple of the batch."""
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
    """Return the embeddings that Stable Diffusion's pipelines and Z-Image's take in place of prompts."""
    guided = model.guidance > 1
    embeddings = pipe.encode_prompt(
        prompt=list(prompts), device=model.device, num_images_per_prompt=1, do_classifier_free_guidance=guided
    )
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    return {name: value for name, value in zip(names, embeddings, strict=False) if value is not None}
