"""The models of a GPU benchmark on disk, so that everything loads them as a user's are loaded."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.throughput.architectures import Architecture, make_pipe, make_tiny_vae
from engine.generators.kinds.text_to_image import TextToImageSettings

_TRAINING = {"revision": "random weights", "license": "none", "generation": 1}
"""Beside a model, for its images: without it, gigabytes of weights would be hashed."""


@dataclass(frozen=True)
class Models:
    """Architectures with random weights in bf16, each written to a folder once. device: where they are made."""

    folder: Path
    device: str

    def of(self, one: Architecture) -> Path:
        """The folder of a pipeline; those of one family whose weights are the same share it."""
        place = self.folder / _weights_of(one)
        if not place.is_dir():
            began = time.monotonic()
            self._save(place, lambda: make_pipe(one, lambda: _tokenizer(place.with_suffix(".words"))))
            print(f"  {one.name}: made and saved in {time.monotonic() - began:.0f} s", flush=True)
        return place

    def tiny_vae(self, one: Architecture) -> Path:
        """The folder of a small autoencoder for its latents."""
        place = self.folder / f"tiny-vae-{one.latent[0]}"
        if not place.is_dir():
            self._save(place, lambda: make_tiny_vae(one))
        return place

    def settings(self, one: Architecture, **changes: Any) -> TextToImageSettings:
        """Return the settings of a spec that uses the model, with some changes."""
        usual = {"source": str(self.of(one)), "steps": one.steps, "guidance": one.guidance, "batch_size": one.batch,
                 "width": one.side, "height": one.side, "dtype": "bf16"}  # fmt: skip
        return TextToImageSettings.model_validate({**usual, **changes})

    def _save(self, place: Path, make: Any) -> None:
        import torch

        before = torch.get_default_dtype()
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(self.device):
                made = make()
        finally:
            torch.set_default_dtype(before)
        made.save_pretrained(place)
        (place / "training.json").write_text(json.dumps(_TRAINING), encoding="utf-8")


def _weights_of(one: Architecture) -> str:
    """SDXL and SDXL-Turbo differ in the native size alone, and what is asked for is always said."""
    return "sdxl" if one.family == "sdxl" else one.name.replace(" ", "-")


def _tokenizer(words: Path) -> Any:
    from bench.tiny_pipeline import make_tokenizer

    number = len(list(words.parent.glob(f"{words.name}*")))
    tokenizer = make_tokenizer(words.with_name(f"{words.name}-{number}"))
    tokenizer.model_max_length = 77
    return tokenizer
