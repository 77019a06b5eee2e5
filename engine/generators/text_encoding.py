"""The text encoders of a pipeline: each distinct text is encoded once, in batches of one fixed shape."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from inspect import signature
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.optimizations.transfer import download
from engine.generators.stages import DeviceStages
from engine.types import Prompt

_EMBEDDING_NAMES = {
    "StableDiffusionXL": ("prompt_embeds", "", "pooled_prompt_embeds"),
    "StableDiffusion3": ("prompt_embeds", "", "pooled_prompt_embeds"),
    "StableDiffusion": ("prompt_embeds",),
    "ZImage": ("prompt_embeds",),
}
"""The outputs of `encode_prompt`, by the names of the call's arguments, for each prefix of a pipeline's class name; the
first match counts. Other families get the texts and encode each batch anew: their outputs differ too much."""

_CACHE_BYTES = 1 << 30  # limit of the embeddings in the host's memory
_BUCKET_TOKENS = 32  # Z-Image pads each caption to such a multiple, and a batch to its longest caption

Embedding = Mapping[str, Tensor]
"""The embedding of one text, by the names of the call's arguments."""


class TextEncoder:
    """The text encoders of a pipeline. guided: negatives count. adapters: the active LoRA weights, part of the key."""

    def __init__(
        self, pipe: Any, device: torch.device, model: DiffusersSettings, guided: bool, stages: DeviceStages
    ) -> None:
        self._pipe, self._device, self._batch_size, self._guided = pipe, device, model.fixed_batch_size(), guided
        self._caches, self._stages = model.optimizations.cache_text_embeddings, stages
        self._accepted = signature(type(pipe).__call__).parameters
        matches = (names for prefix, names in _EMBEDDING_NAMES.items() if type(pipe).__name__.startswith(prefix))
        self._names: tuple[str, ...] = next(matches, ())
        self._cache: dict[tuple[str, Hashable], Embedding] = {}
        self._expected: dict[tuple[str, Hashable], None] = {}  # an ordered set
        self._bytes = 0
        if not self._names and hasattr(pipe, "encode_prompt"):  # class-conditional pipelines encode no text
            pipe.encode_prompt = stages.during("text")(pipe.encode_prompt)

    @cached_property
    def variable_length(self) -> bool:
        """Return whether each embedding has its text's own length; the longest text then decides the batch's shape."""
        return bool(self._names) and isinstance(self._run([""])["prompt_embeds"], list)

    def expect(self, prompt: Prompt, adapters: Hashable) -> None:
        """Announce a prompt of a later batch, whose texts may be encoded together with those of an earlier one."""
        if self._caches and self._names:
            keys = ((text, adapters) for text in self._texts(prompt))
            self._expected.update(dict.fromkeys(key for key in keys if key not in self._cache))

    def length_buckets(self, prompt: Prompt, adapters: Hashable) -> Hashable:
        """Return the length buckets of a prompt, which must be equal in a batch if lengths vary."""
        texts = self._texts(prompt)
        embeddings = self._encode(texts, adapters)
        return tuple(-(-len(embeddings[text]["prompt_embeds"]) // _BUCKET_TOKENS) for text in texts)

    def encode(self, prompts: Sequence[Prompt], adapters: Hashable) -> dict[str, Any]:
        """Return the arguments of the pipeline's call for a batch of prompts: embeddings, or the texts themselves."""
        if not self._caches:
            self._clear_cache()
        texts, negatives = [prompt.text for prompt in prompts], [prompt.negative for prompt in prompts]
        if not self._names:
            arguments = {"prompt": texts, **({"negative_prompt": negatives} if self._guided else {})}
            return {name: value for name, value in arguments.items() if name in self._accepted}
        arguments = self._columns(texts, self._encode(texts, adapters))
        if self._guided:
            embeddings = self._encode(negatives, adapters)
            if "" in embeddings and self._pipe.config.get("force_zeros_for_empty_prompt", False):
                # SDXL was trained to be guided away from zeros, not from the embedding of an empty text.
                embeddings[""] = {name: torch.zeros_like(value) for name, value in embeddings[""].items()}
            arguments |= {f"negative_{name}": rows for name, rows in self._columns(negatives, embeddings).items()}
        return arguments

    def _texts(self, prompt: Prompt) -> tuple[str, ...]:
        return (prompt.text, prompt.negative) if self._guided else (prompt.text,)

    def _columns(self, texts: Sequence[str], embeddings: Mapping[str, Embedding]) -> dict[str, Any]:
        """Return the embeddings of a batch on the device, stacked if their lengths are equal."""
        # The stream that wrote them to pinned memory also reads them, so nothing waits.
        columns = {
            name: [embeddings[text][name].to(self._device, non_blocking=True) for text in texts]
            for name in embeddings[texts[0]]
        }
        return {name: rows if self.variable_length else torch.stack(rows) for name, rows in columns.items()}

    def _encode(self, texts: Sequence[str], adapters: Hashable) -> dict[str, Embedding]:
        """Return the embedding of each text in the host's memory; encode those that the cache lacks."""
        new = sorted({text for text in texts if (text, adapters) not in self._cache})
        if self._bytes > _CACHE_BYTES:
            self._clear_cache()
            new = sorted(set(texts))
        # Batches have a fixed shape, so that an embedding does not depend on the other texts. Embeddings of variable
        # length would be padded to the longest text, so these texts are encoded one by one.
        size = 1 if self.variable_length else self._batch_size
        for start in range(0, len(new), size):
            self._encode_group(new[start : start + size], adapters, size)
        return {text: self._cache[text, adapters] for text in texts}

    def _encode_group(self, texts: list[str], adapters: Hashable, size: int) -> None:
        """Add the embeddings of at most `size` texts to the cache, and of expected texts if there is room."""
        if len(texts) < size:
            expected = (text for text, active in self._expected if active == adapters and text not in texts)
            texts = [*texts, *islice(expected, size - len(texts))]
        columns = self._run(texts + [""] * (size - len(texts)))
        for row, text in enumerate(texts):
            # In the host's memory: thousands of embeddings would take gigabytes of the device's.
            embedding = {name: download(value[row]) for name, value in columns.items()}
            self._cache[text, adapters] = embedding
            self._expected.pop((text, adapters), None)
            self._bytes += sum(value.nbytes for value in embedding.values())

    def _clear_cache(self) -> None:
        self._cache.clear()
        self._bytes = 0

    @torch.inference_mode()
    def _run(self, texts: list[str]) -> dict[str, Any]:
        accepted = signature(self._pipe.encode_prompt).parameters
        arguments = {"device": self._device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        arguments |= {"prompt_2": None, "prompt_3": None}
        arguments = {name: value for name, value in arguments.items() if name in accepted}
        with self._stages.during("text"):
            outputs = self._pipe.encode_prompt(prompt=texts, **arguments)
        return {name: value for name, value in zip(self._names, outputs, strict=False) if name}
