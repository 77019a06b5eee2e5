"""Encoding prompts: once per distinct text, in batches of one fixed shape."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, wraps
from inspect import signature
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.optimizations.transfer import download
from engine.generators.stages import DeviceStages
from engine.types import Prompt

_RETURNED = {
    "StableDiffusionXL": ("prompt_embeds", "", "pooled_prompt_embeds"),
    "StableDiffusion3": ("prompt_embeds", "", "pooled_prompt_embeds"),
    "StableDiffusion": ("prompt_embeds",),
    "ZImage": ("prompt_embeds",),
}
"""What `encode_prompt` returns, under the names that the call has for it, by how the pipeline's class begins; the first
that fits counts. Other families are given the texts and encode each batch anew: what they return differs too much."""

_CACHED = 1 << 30
"""Bytes of encodings that are kept in the host's memory."""
_CAPTION_MULTIPLE = 32
"""Z-Image, which takes captions of any length, fills each up to such a multiple, and a batch to its longest."""

Encoded = Mapping[str, Tensor]
"""What the pipeline is given for one text, by the name that its call has for it."""


class TextEncoder:
    """The text encoders of a pipeline.

    guided: whether negative prompts count.
    """

    def __init__(
        self, pipe: Any, device: torch.device, model: DiffusersSettings, guided: bool, stages: DeviceStages
    ) -> None:
        self._pipe, self._device, self._batch, self._guided = pipe, device, model.fixed_batch_size(), guided
        self._once, self._stages = model.fast.texts_once, stages
        self._call = signature(type(pipe).__call__).parameters
        families = (names for family, names in _RETURNED.items() if type(pipe).__name__.startswith(family))
        self._names: tuple[str, ...] = next(families, ())
        self._cache: dict[tuple[str, Hashable], Encoded] = {}
        self._expected: dict[tuple[str, Hashable], None] = {}
        self._bytes = 0
        if not self._names and hasattr(pipe, "encode_prompt"):  # a class-conditional pipeline reads none
            pipe.encode_prompt = _staged(pipe.encode_prompt, stages)

    @cached_property
    def ragged(self) -> bool:
        """Whether each text is encoded to its own length, so that the longest of a batch decides its shape."""
        return bool(self._names) and isinstance(self._run([""])["prompt_embeds"], list)

    def expect(self, prompt: Prompt, adapters: Hashable) -> None:
        """A later batch has this prompt: its texts may be encoded with those of an earlier one."""
        if self._once and self._names:
            new = ((text, adapters) for text in self._parts(prompt))
            self._expected.update(dict.fromkeys(one for one in new if one not in self._cache))

    def lengths(self, prompt: Prompt, adapters: Hashable) -> Hashable:
        """The length buckets of a prompt where encodings are ragged: those of one batch must be equal."""
        texts = self._parts(prompt)
        known = self._encoded(texts, adapters)
        return tuple(-(-len(known[text]["prompt_embeds"]) // _CAPTION_MULTIPLE) for text in texts)

    def conditions(self, prompts: Sequence[Prompt], adapters: Hashable) -> dict[str, Any]:
        """What the pipeline's call is given for a batch; `adapters` tells apart what LoRA weights make of one text."""
        if not self._once:
            self._forget()
        texts, negatives = [one.text for one in prompts], [one.negative for one in prompts]
        if not self._names:
            given = {"prompt": texts, **({"negative_prompt": negatives} if self._guided else {})}
            return {name: value for name, value in given.items() if name in self._call}
        found = self._rows(texts, self._encoded(texts, adapters))
        if self._guided:
            known = self._encoded(negatives, adapters)
            if "" in known and self._pipe.config.get("force_zeros_for_empty_prompt", False):
                # SDXL was trained to be guided away from zeros, not from the encoding of an empty text.
                known[""] = {name: torch.zeros_like(value) for name, value in known[""].items()}
            found |= {f"negative_{name}": rows for name, rows in self._rows(negatives, known).items()}
        return found

    def _parts(self, prompt: Prompt) -> tuple[str, ...]:
        return (prompt.text, prompt.negative) if self._guided else (prompt.text,)

    def _rows(self, texts: Sequence[str], known: Mapping[str, Encoded]) -> dict[str, Any]:
        # Read from pinned memory by the stream that wrote it there: nobody waits.
        columns = {
            name: [known[text][name].to(self._device, non_blocking=True) for text in texts] for name in known[texts[0]]
        }
        return {name: rows if self.ragged else torch.stack(rows) for name, rows in columns.items()}

    def _encoded(self, texts: Sequence[str], adapters: Hashable) -> dict[str, Encoded]:
        new = sorted({text for text in texts if (text, adapters) not in self._cache})
        if self._bytes > _CACHED:
            self._forget()
            new = sorted(set(texts))
        # Padded to a fixed shape, as images are, so that a text's encoding does not depend on its company. Ragged ones
        # are filled up to one length while they are encoded, and asked for one at a time.
        size = 1 if self.ragged else self._batch
        for start in range(0, len(new), size):
            group = new[start : start + size]
            if len(group) < size:
                group += self._soon(group, adapters, size - len(group))
            found = self._run(group + [""] * (size - len(group)))
            for row, text in enumerate(group):
                # In the host's memory: thousands of them would take gigabytes of the device's.
                kept = {name: download(value[row]) for name, value in found.items()}
                self._cache[text, adapters] = kept
                self._expected.pop((text, adapters), None)
                self._bytes += sum(value.nbytes for value in kept.values())
        return {text: self._cache[text, adapters] for text in texts}

    def _soon(self, group: Sequence[str], adapters: Hashable, count: int) -> list[str]:
        """So many texts that are expected, and not in this group."""
        others = (text for text, active in self._expected if active == adapters and text not in group)
        return list(islice(others, count))

    def _forget(self) -> None:
        self._cache.clear()
        self._bytes = 0

    @torch.inference_mode()
    def _run(self, texts: list[str]) -> dict[str, Any]:
        takes = signature(self._pipe.encode_prompt).parameters
        given = {"device": self._device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        given |= {"prompt_2": None, "prompt_3": None}
        known = {name: value for name, value in given.items() if name in takes}
        with self._stages.within("text"):
            returned = self._pipe.encode_prompt(prompt=texts, **known)
        return {name: value for name, value in zip(self._names, returned, strict=False) if name}


def _staged(encode: Callable[..., Any], stages: DeviceStages) -> Callable[..., Any]:
    @wraps(encode)
    def encoded(*given: Any, **named: Any) -> Any:
        with stages.within("text"):
            return encode(*given, **named)

    return encoded
